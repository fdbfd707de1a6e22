//! How much a client may say on a socket: so much at once, and then so much per second.

use std::time::Instant;

pub struct Bucket {
    burst: f64,
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(burst: f64, per_second: f64, now: Instant) -> Self {
        Self { burst, per_second, left: burst, at: now }
    }

    /// Takes so much out of it, if that is there.
    pub fn takes(&mut self, much: f64, now: Instant) -> bool {
        self.left = (self.left + (now - self.at).as_secs_f64() * self.per_second).min(self.burst);
        self.at = now;
        let is_there = self.left >= much;
        if is_there {
            self.left -= much;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_empties_the_bucket_and_time_fills_it() {
        let start = Instant::now();
        let mut bucket = Bucket::new(30.0, 5.0, start);
        assert!((0..30).all(|_| bucket.takes(1.0, start)));
        assert!(!bucket.takes(1.0, start));
        assert!(bucket.takes(1.0, start + Duration::from_millis(250)));
        assert!(!bucket.takes(1.0, start + Duration::from_millis(260)));
        let later = start + Duration::from_mins(1);
        assert!((0..30).all(|_| bucket.takes(1.0, later)) && !bucket.takes(1.0, later));
    }
}

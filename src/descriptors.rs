//! The file descriptors of the process: as many as the system lets it have, and a part of them that connections never get.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the number of descriptors to what the process may raise it to. The usual 1,024 are for programs that still use
/// `select`.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, ?current, ?maximum, "the number of file descriptors could not be raised");
    }
}

/// How many of them connections may take.
pub fn for_connections() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| part_of(most as usize))
}

/// Postgres, Redis, files that are read or written and calls to push services need the others.
fn part_of(descriptors: usize) -> usize {
    descriptors - descriptors / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_kept() {
        assert_eq!((part_of(20_000), part_of(1_024), part_of(0)), (15_000, 768, 0));
        raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert!(current.is_none_or(|most| for_connections() < most as usize));
    }
}

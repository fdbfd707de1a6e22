//! What Millrace says about itself: log lines, metrics, and the numbers of each request.
//!
//! One line per request, written where the request ends (http/middleware/observe.rs); failures are logged once, where they
//! are handled. Metric names start with `millrace_` and carry their unit. Labels come from closed sets: operations, error
//! kinds, reasons. Never a user, a channel or a token.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::future::Future;
use std::io::IsTerminal;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogSettings};

tokio::task_local! {
    static QUERIES: Cell<u32>;
    static TRANSACTIONS: Cell<u32>;
}

/// Runs a request so that its database queries are counted.
pub async fn counting_queries<T>(work: impl Future<Output = T>) -> (T, u32) {
    let counted = QUERIES.scope(Cell::new(0), async {
        let result = work.await;
        (result, QUERIES.with(Cell::get))
    });
    TRANSACTIONS.scope(Cell::new(0), counted).await
}

/// Counts one round trip to Postgres for the current request, if there is one.
pub fn count_query() {
    let _ = QUERIES.try_with(|queries| queries.set(queries.get() + 1));
}

/// Lives as long as a transaction of the current request.
#[derive(Debug)]
pub struct InTransaction(());

impl InTransaction {
    pub fn begin() -> Self {
        expect_no_transaction();
        let _ = TRANSACTIONS.try_with(|open| open.set(open.get() + 1));
        Self(())
    }
}

impl Drop for InTransaction {
    fn drop(&mut self) {
        let _ = TRANSACTIONS.try_with(|open| open.set(open.get().saturating_sub(1)));
    }
}

/// Called before anything that may have to wait for somebody else: another connection, Redis. Whoever holds a row's lock
/// while waiting makes everybody wait who wants that row. Checked where tests run, in debug builds.
pub fn expect_no_transaction() {
    debug_assert!(
        TRANSACTIONS.try_with(Cell::get).unwrap_or_default() == 0,
        "a transaction is open: it asks by its own connection, or before it begins"
    );
}

/// Starts logging to standard error: what is printed for people is not mixed with it.
///
/// # Panics
/// When the filter is not valid: the configuration has been checked before.
pub fn start_logging(settings: &LogSettings) {
    let filter: EnvFilter = settings.filter.parse().expect("the configuration is checked");
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start in one process (tests) keeps the first one's choice.
    let _ = match settings.format {
        LogFormat::Text => builder.compact().fmt_fields(escaped_fields()).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
}

/// `key=value`, in which no value can end the line, begin another one, or speak to a terminal: some of them hold what clients
/// have sent. JSON lines escape as JSON does.
fn escaped_fields() -> impl for<'writer> tracing_subscriber::fmt::FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(|writer, field, value| match field.name() {
        "message" => write!(Escaped(writer), "{value:?}"),
        name => {
            write!(writer, "{name}=")?;
            write!(Escaped(writer), "{value:?}")
        }
    })
    .delimited(" ")
}

/// Writes text in one line, without anything that changes how the line looks.
struct Escaped<'a>(&'a mut dyn Write);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            // Line and paragraph separators, and what turns the direction of writing.
            if char.is_control() || matches!(char, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}') {
                write!(self.0, "{}", char.escape_default())?;
            } else {
                self.0.write_char(char)?;
            }
        }
        Ok(())
    }
}

const SECONDS: &[f64] = &[0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// The process's metrics, started on first use.
pub fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_count_per".into()), COUNTS))
            .expect("the buckets are not empty")
            .install_recorder()
            .expect("nobody else installs a recorder");
        describe();
        handle
    })
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!("millrace_http_requests_total", "Requests by operation and status.");
    describe_histogram!("millrace_http_request_seconds", Unit::Seconds, "Time to answer, by operation.");
    describe_counter!("millrace_errors_total", "Refused or failed requests by kind of error.");
    describe_gauge!("millrace_connections", "Open sockets on this node.");
    describe_counter!("millrace_connections_closed_total", "Sockets closed, by reason.");
    describe_gauge!("millrace_append_queue", "Messages waiting for a writer.");
    describe_counter!(
        "millrace_append_aside_total",
        "Messages that waited because somebody else had locked their channel."
    );
    describe_histogram!("millrace_append_batch_messages", Unit::Count, "Messages in one group commit.");
    describe_histogram!("millrace_append_commit_seconds", Unit::Seconds, "Time of one group commit.");
    describe_histogram!(
        "millrace_fanout_seconds",
        Unit::Seconds,
        "Time to hand one run of events to a worker's sockets."
    );
    describe_counter!("millrace_fanout_frames_total", "Frames handed to sockets.");
    describe_counter!("millrace_fanout_queued_total", "Frames that a socket did not take at once.");
    describe_counter!(
        "millrace_gaps_total",
        "Times a channel's events were read from the log because one was missing."
    );
    describe_counter!(
        "millrace_delivery_reads_failed_total",
        "Reads that delivery needs and that failed; they are made again until they succeed."
    );
    describe_counter!("millrace_relay_repeated_total", "Events that the relay delivered because nobody else had.");
    describe_counter!("millrace_bus_published_total", "Messages published on the bus.");
    describe_counter!("millrace_bus_received_total", "Messages received from the bus.");
    describe_counter!(
        "millrace_bus_dropped_total",
        "Messages that the bus could not take; the relay makes up for them."
    );
    describe_counter!(
        "millrace_pushes_total",
        "Attempts to push, by outcome: sent, retried, gone (the subscription has ended), failed, expired."
    );
    describe_gauge!(
        "millrace_redis_connected",
        "1 while Redis answers commands; without it the node uses what it knows."
    );
    describe_counter!("millrace_redis_timeouts_total", "Commands that Redis did not answer in time.");
    describe_counter!("millrace_requests_abandoned_total", "Requests that went on without their client to their end.");
    describe_counter!("millrace_tasks_ended_total", "Background tasks that ended and should not have, by task.");
    describe_gauge!("millrace_bus_connected", "1 while the bus's subscriber is connected.");
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_clients_send_stays_in_its_line() {
        let lines = Lines::default();
        let writer = lines.clone();
        let builder = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = builder.compact().fmt_fields(escaped_fields()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let reason = "no user a\nERROR forged\r\u{2028}\u{1b}[2J\u{85}\u{202e}é";
            tracing::info!(kind = "input", %reason, "request");
            tracing::info!(reason, "request");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.lines().all(|line| line.contains("request kind=input reason=no user") || line.contains("é")),
            "{text}"
        );
        let odd = |char: char| char != '\n' && (char.is_control() || matches!(char, '\u{2028}' | '\u{202e}'));
        assert!(!text.contains(odd) && text.contains("\\nERROR forged"), "{text}");
    }
}

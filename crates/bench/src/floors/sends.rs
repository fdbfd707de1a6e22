//! Durable sends without anything around them: JSON in, two writers that put up to a hundred messages into one statement,
//! the answer after the commit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

const WRITERS: usize = 2;
const BATCH_MAX: usize = 100;
const QUEUE_MAX: usize = 4_096;

const TABLES: &str = "
CREATE TABLE channels (id text PRIMARY KEY, messages bigint NOT NULL DEFAULT 0, last_message_at timestamptz)
    WITH (fillfactor = 50);
CREATE TABLE messages (
    channel_id text NOT NULL,
    seq        bigint NOT NULL,
    id         text NOT NULL UNIQUE,
    text       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (channel_id, seq)
);
";

/// Takes the channels' next numbers, once for each, and gives them to the messages.
const WRITE: &str = "
WITH moved AS (
    UPDATE channels c SET messages = c.messages + i.messages, last_message_at = now()
    FROM unnest($1::text[], $2::bigint[]) AS i (id, messages)
    WHERE c.id = i.id
    RETURNING c.id, c.messages - i.messages AS before
)
INSERT INTO messages (channel_id, seq, id, text)
SELECT i.channel_id, moved.before + i.rank, i.id, i.text
FROM unnest($3::text[], $4::bigint[], $5::text[], $6::text[]) AS i (channel_id, rank, id, text)
JOIN moved ON moved.id = i.channel_id
";

#[derive(Deserialize)]
struct Request {
    message: Message,
}

#[derive(Clone, Deserialize, Serialize)]
struct Message {
    id: String,
    text: String,
}

#[derive(Serialize)]
struct Sent {
    message: Message,
}

struct Job {
    channel: String,
    message: Message,
    written: oneshot::Sender<()>,
}

type Writers = Arc<[mpsc::Sender<Job>]>;

/// Makes the tables and the channels, which are named [`channel`].
pub async fn prepare(connection: &mut PgConnection, channels: usize) -> Result<()> {
    connection.execute(TABLES).await?;
    let ids: Vec<String> = (0..channels).map(channel).collect();
    sqlx::query("INSERT INTO channels SELECT unnest($1::text[])").bind(ids).execute(&mut *connection).await?;
    connection.execute("ANALYZE channels").await?;
    Ok(())
}

pub fn channel(index: usize) -> String {
    format!("bench-{index}")
}

pub async fn serve(listen: SocketAddr, database: &str) -> Result<()> {
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let (sender, inbox) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run_writer(connect(database).await?, inbox));
        writers.push(sender);
    }
    let router = Router::new()
        .route("/channels/messaging/{id}/message", post(send))
        .route("/readyz", get(async || "ready\n"))
        .with_state(Writers::from(writers));
    let listener = TcpListener::bind(listen).await?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

async fn send(
    State(writers): State<Writers>,
    Path(channel): Path<String>,
    Json(Request { message }): Json<Request>,
) -> Result<(StatusCode, Json<Sent>), StatusCode> {
    let gone = StatusCode::SERVICE_UNAVAILABLE;
    let spread = channel.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    let (written, wait) = oneshot::channel();
    let job = Job { channel, message: message.clone(), written };
    writers[spread % WRITERS].send(job).await.map_err(|_| gone)?;
    wait.await.map_err(|_| gone)?;
    Ok((StatusCode::CREATED, Json(Sent { message })))
}

/// Planned once, and by indexes, as the server does it: the tables are nearly empty when the plan is made.
async fn connect(database: &str) -> Result<PgConnection> {
    let options: PgConnectOptions = database.parse()?;
    let options = options.options([
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
    ]);
    Ok(options.connect().await?)
}

async fn run_writer(mut connection: PgConnection, mut inbox: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(BATCH_MAX);
    while inbox.recv_many(&mut jobs, BATCH_MAX).await > 0 {
        let (batch, waiting): (Vec<_>, Vec<_>) =
            jobs.drain(..).map(|job| ((job.channel, job.message), job.written)).unzip();
        if let Err(error) = write(&mut connection, &batch).await {
            eprintln!("floor-sends: {error}");
            return;
        }
        for written in waiting {
            let _ = written.send(());
        }
    }
}

/// One statement, one commit.
async fn write(connection: &mut PgConnection, batch: &[(String, Message)]) -> Result<(), sqlx::Error> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    let mut ranks = Vec::with_capacity(batch.len());
    for (channel, _) in batch {
        let count = counts.entry(channel).or_default();
        *count += 1;
        ranks.push(*count);
    }
    let (channels, counts): (Vec<&str>, Vec<i64>) = counts.into_iter().unzip();
    let column = |of: fn(&(String, Message)) -> &str| batch.iter().map(of).collect::<Vec<_>>();
    sqlx::query(WRITE)
        .bind(channels)
        .bind(counts)
        .bind(column(|(channel, _)| channel))
        .bind(ranks)
        .bind(column(|(_, message)| &message.id))
        .bind(column(|(_, message)| &message.text))
        .execute(connection)
        .await?;
    Ok(())
}

//! Subcommands. No logic: everything they do is a call into the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use millrace::access::token::Tokens;
use millrace::app::{Node, OpenDatabase};
use millrace::clock::Clock;
use millrace::config::{Config, Overrides};
use millrace::store::{Address, Store, StoreError};
use millrace::{descriptors, limits, telemetry};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A chat backend for people and agents. Without any configuration it runs on this machine alone.
#[derive(Parser)]
#[command(name = "millrace", version, about)]
struct Cli {
    /// A TOML file; ./millrace.toml is found without naming it. The environment wins over it.
    #[arg(long, global = true, env = "MILLRACE_CONFIG")]
    config: Option<PathBuf>,
    /// Where the embedded Postgres and uploads are kept.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a node.
    Serve {
        /// ADDRESS:PORT; port 0 takes any that is free.
        #[arg(long)]
        listen: Option<String>,
    },
    /// Applies the database migrations that are missing.
    Migrate,
    /// Reads the configuration, says what is in force or what is wrong with it.
    CheckConfig,
    /// Prints a token.
    Token {
        /// Whom it is for.
        #[arg(long, required_unless_present = "server")]
        user: Option<String>,
        /// For a server: it may do everything.
        #[arg(long, conflicts_with = "user")]
        server: bool,
        /// Seconds until it ends; never, if left out.
        #[arg(long)]
        expires_in: Option<i64>,
    },
    /// Prints the OpenAPI document.
    Openapi,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Into::into).and_then(|runtime| {
            let outcome = runtime.block_on(run(cli));
            // What computes and never waits does not hold the process.
            runtime.shutdown_timeout(limits::STOP_PATIENCE);
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Outcome {
    // Two TLS providers would be one too many: say which, before anything opens a connection.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listen = if let Command::Serve { listen } = &cli.command { listen.clone() } else { None };
    let overrides = Overrides { file: cli.config.or_else(Config::default_file), listen, data_dir: cli.data_dir };
    match cli.command {
        Command::Openapi => print!("{}", millrace::http::openapi::json()),
        Command::CheckConfig => println!("{:#?}", Config::load(&overrides)?),
        Command::Token { user, expires_in, .. } => println!("{}", token(&Config::load(&overrides)?, user, expires_in)?),
        Command::Migrate => migrate(&Config::load(&overrides)?).await?,
        Command::Serve { .. } => Box::pin(serve(Config::load(&overrides)?)).await?,
    }
    Ok(())
}

fn token(config: &Config, user: Option<String>, expires_in: Option<i64>) -> Result<String, Box<dyn std::error::Error>> {
    let tokens = Tokens::new(&config.api_secret);
    let now = Clock::default().now().seconds();
    Ok(match user {
        Some(user) => tokens.for_user(&user, Some(now), expires_in.map(|seconds| now + seconds))?,
        None => tokens.for_server()?,
    })
}

async fn migrate(config: &Config) -> Outcome {
    telemetry::start_logging(&config.log);
    let database = OpenDatabase::open(config).await?;
    let applied = apply_migrations(config, &database.address).await;
    database.close().await;
    applied?;
    println!("the database is up to date");
    Ok(())
}

async fn apply_migrations(config: &Config, address: &Address) -> Result<(), StoreError> {
    let store = Store::connect(address, config.connections_max).await?;
    store.migrate().await?;
    if let Err(error) = store.keep_event_partitions().await {
        tracing::warn!(%error, "partitions of the event log could not be made now: the first node that starts will");
    }
    store.close().await;
    Ok(())
}

async fn serve(config: Config) -> Outcome {
    telemetry::start_logging(&config.log);
    descriptors::raise();
    let welcome = config.demo;
    let database = OpenDatabase::open(&config).await?;
    let node = match Box::pin(Node::start(config, &database.address, Clock::default())).await {
        Ok(node) => node,
        Err(error) => {
            database.close().await;
            return Err(error.into());
        }
    };
    tracing::info!(listen = %node.listen, "ready");
    if welcome {
        println!("{}", millrace::http::demo::welcome(&node.ctx, node.listen)?);
    }
    let mut signals = Signals::new()?;
    let failed = tokio::select! {
        () = signals.next() => None,
        part = node.failure() => Some(part),
    };
    let leave = async {
        node.drain().await;
        database.close().await;
    };
    tokio::select! {
        () = leave => {}
        () = signals.next() => return Err("asked twice to end: not everything was finished".into()),
    }
    // Its supervisor starts it anew.
    failed.map_or(Ok(()), |part| Err(format!("a part of the node has ended: {part}").into()))
}

/// What asks the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

//! A way to a TCP service that can be slow, stand still, or break.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// What the way is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// What goes in comes out so much later.
    Delay(Duration),
    /// Connections are taken and nothing comes through; it waits.
    Still,
}

/// A proxy in front of a service. It ends with its value.
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    /// Changed to break all connections.
    breaks: watch::Sender<u32>,
}

impl Proxy {
    /// A proxy that passes everything on at once. `url` ends in host and port.
    ///
    /// # Panics
    /// The URL has neither, or there is no free port.
    pub async fn before(url: &str) -> Self {
        let target = url.rsplit('/').next().expect("a URL with host and port").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let (weather, sky) = watch::channel(Weather::Delay(Duration::ZERO));
        let (breaks, broken) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target.clone(), sky.clone(), broken.clone()));
            }
        });
        Self { port, weather, breaks }
    }

    /// Host and port of this end.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on everything takes so much longer, each way.
    pub fn delay(&self, time: Duration) {
        self.weather.send_replace(Weather::Delay(time));
    }

    /// From now on nothing comes through, as if the service stood still.
    pub fn stall(&self) {
        self.weather.send_replace(Weather::Still);
    }

    /// What waited comes through, and all that follows.
    pub fn resume(&self) {
        self.delay(Duration::ZERO);
    }

    /// Breaks all connections; new ones are taken.
    pub fn reset(&self) {
        self.breaks.send_modify(|breaks| *breaks += 1);
    }
}

async fn carry(client: TcpStream, target: String, sky: watch::Receiver<Weather>, mut broken: watch::Receiver<u32>) {
    broken.mark_unchanged();
    let Ok(service) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), service.set_nodelay(true));
    let ((from_client, to_client), (from_service, to_service)) = (client.into_split(), service.into_split());
    tokio::select! {
        () = pass(from_client, to_service, sky.clone()) => {}
        () = pass(from_service, to_client, sky) => {}
        _ = broken.changed() => {}
    }
}

/// One direction.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut sky: watch::Receiver<Weather>) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now(), buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((at, bytes)) = receiver.recv().await {
            let clear = sky.wait_for(|weather| *weather != Weather::Still).await.map(|weather| *weather);
            let Ok(Weather::Delay(delay)) = clear else { return };
            tokio::time::sleep_until(at + delay).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

//! The network between the gateways and the clouds: pipes in memory, which can be refused, hang, or carry late.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use http::Uri;
use restore_simulator::InMemory;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

/// How the network fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Connections are refused.
    Refused,
    /// Connections are never made.
    Hangs,
    /// What is sent on new connections arrives so many milliseconds late.
    Late(u64),
}

/// The network. Every address leads to the same clouds.
pub struct Net {
    clouds: Arc<InMemory>,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    weather: Option<(Weather, Instant)>,
}

impl Net {
    /// To these clouds, with delays that follow from a seed.
    pub fn new(clouds: Arc<InMemory>, seed: u64) -> Arc<Self> {
        Arc::new(Self { clouds, state: Mutex::new(State { rng: Rng::with_seed(seed), weather: None }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number below `end`, in the order in which they are asked for.
    pub fn random(&self, end: u64) -> u64 {
        self.state().rng.u64(..end)
    }

    /// Has a weather for so long.
    pub fn set(&self, weather: Weather, lasts: Duration) {
        self.state().weather = Some((weather, Instant::now() + lasts));
    }

    /// Is well again.
    pub fn heal(&self) {
        self.state().weather = None;
    }

    fn weather(&self) -> Option<Weather> {
        let state = self.state();
        state.weather.filter(|(_, until)| Instant::now() < *until).map(|(weather, _)| weather)
    }

    /// A connection to the clouds.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn connect(&self, _to: &Uri) -> io::Result<DuplexStream> {
        let delay = self.random(8);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        match self.weather() {
            None => Ok(self.clouds.connect()),
            Some(Weather::Refused) => Err(io::ErrorKind::ConnectionRefused.into()),
            Some(Weather::Hangs) => std::future::pending().await,
            Some(Weather::Late(millis)) => Ok(late(self.clouds.connect(), Duration::from_millis(millis))),
        }
    }
}

/// A connection on which everything that is sent arrives late. What was sent arrives although the sender has ended.
fn late(clouds: DuplexStream, by: Duration) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (mut from_caller, mut to_caller) = tokio::io::split(ours);
    let (mut from_clouds, mut to_clouds) = tokio::io::split(clouds);
    tokio::spawn(async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_caller.read(&mut bytes).await {
            tokio::time::sleep(by).await;
            if to_clouds.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
        let _ = to_clouds.shutdown().await;
    });
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_clouds, &mut to_caller).await;
        let _ = to_caller.shutdown().await;
    });
    theirs
}

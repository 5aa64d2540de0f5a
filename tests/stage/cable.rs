//! A cable between a worker and a server, which a test can cut or stall.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards every connection to a server until it is cut; new connections are forwarded again.
pub struct Cable {
    /// Host and port at which it listens.
    pub address: String,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// The ports from which it has connected to the server.
    ports: Arc<Mutex<Vec<u16>>>,
    far_end: watch::Sender<u32>,
    stalled: watch::Sender<Stalled>,
    away: Arc<AtomicBool>,
    refused: Arc<AtomicU32>,
}

/// The directions in which nothing gets through, though every connection stays open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalled {
    /// From the worker to the server.
    pub there: bool,
    /// From the server to the worker.
    pub back: bool,
}

impl Cable {
    /// Lays a cable to host and port of a server.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let ports: Arc<Mutex<Vec<u16>>> = Arc::default();
        let (far_end, stalled) = (watch::Sender::new(0), watch::Sender::new(Stalled::default()));
        let (server, open, used) = (server.to_owned(), Arc::clone(&connections), Arc::clone(&ports));
        let (cuts, stalls) = (far_end.clone(), stalled.clone());
        let away: Arc<AtomicBool> = Arc::default();
        let is_away = Arc::clone(&away);
        let refused: Arc<AtomicU32> = Arc::default();
        let counted = Arc::clone(&refused);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if is_away.load(Ordering::Relaxed) {
                    counted.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                // The server may be away; then the worker's connection ends at once.
                let Ok(far) = TcpStream::connect(&server).await else { continue };
                used.lock().unwrap().extend(far.local_addr().map(|address| address.port()));
                let forwarded = forward(near, far, cuts.subscribe(), stalls.subscribe());
                open.lock().unwrap().push(tokio::spawn(forwarded));
            }
        });
        Self { address, connections, ports, far_end, stalled, away, refused }
    }

    /// Lets nothing through in these directions from now on; what comes waits. The default lets everything through
    /// again.
    pub fn stall(&self, stalled: Stalled) {
        self.stalled.send_replace(stalled);
    }

    /// Whether the server cannot be reached at all: connections end, and new ones at once.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
        if away {
            self.cut();
        }
    }

    /// How many connections were made while the server could not be reached.
    pub fn refused(&self) -> u32 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether the server was connected to from this port.
    pub fn has_used(&self, port: u16) -> bool {
        self.ports.lock().unwrap().contains(&port)
    }

    /// Closes every connection, and gives how many there were.
    pub fn cut(&self) -> usize {
        let cut = std::mem::take(&mut *self.connections.lock().unwrap());
        cut.iter().filter(|connection| !connection.is_finished()).map(JoinHandle::abort).count()
    }

    /// Closes every connection for the server alone: the worker's end stays open, and silent. Gives how many there
    /// were.
    pub fn cut_far_end(&self) -> usize {
        let open = self.connections.lock().unwrap().iter().filter(|connection| !connection.is_finished()).count();
        self.far_end.send_modify(|cuts| *cuts += 1);
        open
    }
}

async fn forward(near: TcpStream, far: TcpStream, mut cuts: watch::Receiver<u32>, stalls: watch::Receiver<Stalled>) {
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let (mut from_near, mut to_near, mut from_far, mut to_far) = (from_near, to_near, from_far, to_far);
    let cut = {
        let there = pump(&mut from_near, &mut to_far, stalls.clone(), |stalled| stalled.there);
        let back = pump(&mut from_far, &mut to_near, stalls, |stalled| stalled.back);
        tokio::select! {
            // Either end may close it at any time.
            _ = async { tokio::join!(there, back) } => false,
            _ = cuts.changed() => true,
        }
    };
    if cut {
        drop((from_far, to_far));
        std::future::pending::<()>().await;
    }
}

/// Carries one direction to its end. What was read while the direction is stalled goes on after it.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut stalls: watch::Receiver<Stalled>,
    is_stalled: impl Fn(&Stalled) -> bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if stalls.wait_for(|stalled| !is_stalled(stalled)).await.is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            break;
        }
    }
    // The other direction may still have something to carry.
    let _ = to.shutdown().await;
}

//! A cable between a worker and a server, which a test can cut.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards every connection to a server until it is cut; new connections are forwarded again.
pub struct Cable {
    /// Host and port at which it listens.
    pub address: String,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
    far_end: watch::Sender<u32>,
}

impl Cable {
    /// Lays a cable to host and port of a server.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let far_end = watch::Sender::new(0);
        let (server, open, cuts) = (server.to_owned(), Arc::clone(&connections), far_end.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                open.lock().unwrap().push(tokio::spawn(forward(near, server.clone(), cuts.subscribe())));
            }
        });
        Self { address, connections, far_end }
    }

    /// Closes every connection, and gives how many there were.
    pub fn cut(&self) -> usize {
        let cut = std::mem::take(&mut *self.connections.lock().unwrap());
        cut.iter().filter(|connection| !connection.is_finished()).map(JoinHandle::abort).count()
    }

    /// Closes every connection for the server alone: the worker's end stays open, and silent. Gives how many there were.
    pub fn cut_far_end(&self) -> usize {
        let open = self.connections.lock().unwrap().iter().filter(|connection| !connection.is_finished()).count();
        self.far_end.send_modify(|cuts| *cuts += 1);
        open
    }
}

async fn forward(mut near: TcpStream, server: String, mut cuts: watch::Receiver<u32>) {
    let mut far = TcpStream::connect(server).await.unwrap();
    tokio::select! {
        // Either end may close it at any time.
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = cuts.changed() => {
            drop(far);
            std::future::pending::<()>().await;
        }
    }
}

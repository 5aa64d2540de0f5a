//! lapin's way to the broker, with the screen in it.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio, TokioRuntime};
use futures_io::{AsyncRead, AsyncWrite, IoSlice};
use futures_util::Stream;
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};

use super::bounds::{FRAME_MAX, FRAME_MIN};
use super::stream::Screen;
use crate::broker::server::Server;

/// How much is read at once.
const READ_BYTES: usize = 32 * 1024;

/// TCP, with TLS where the URL says so: what lapin connects with by itself.
type Plain = AsyncTcpStream<<TokioRuntime as Reactor>::TcpStream>;

/// Connects as `Connection::connect_uri` does, TLS included. Of a body that is larger than `body_bound` only this many
/// bytes pass. Gives what the broker says it is, too.
pub async fn connect(
    mut uri: AMQPUri,
    properties: ConnectionProperties,
    body_bound: u64,
) -> Result<(Connection, Server), lapin::Error> {
    let asked = uri.query.frame_max.filter(|asked| *asked != 0);
    let frame_max = asked.unwrap_or(FRAME_MAX).clamp(FRAME_MIN, FRAME_MAX);
    uri.query.frame_max = Some(frame_max);
    let reactor = ScreenedTcp { tokio: TokioRuntime::tokio_current(), body_bound, frame_max, server: Arc::default() };
    let (screened, server) = (reactor.clone(), reactor.server.clone());
    let open = async move |uri: AMQPUri, _runtime| {
        let stream = uri.connect_async(&screened.tokio).await?;
        Ok(AsyncTcpStream::Plain(screened.screen(stream)))
    };
    let runtime = Runtime::new(RuntimeParts::new(Tokio::current(), reactor));
    let connection = Connection::connector(uri, runtime, open, properties).await?;
    Ok((connection, server.get().cloned().unwrap_or_default()))
}

/// Tokio's reactor, whose streams are screened. lapin wants such a type to hold a stream of this type.
#[derive(Clone, Debug)]
struct ScreenedTcp {
    tokio: TokioRuntime,
    body_bound: u64,
    frame_max: u32,
    server: Arc<OnceLock<Server>>,
}

impl ScreenedTcp {
    fn screen(&self, stream: Plain) -> Screened {
        Screened {
            stream,
            screen: Screen::new(self.body_bound, self.frame_max).noting(self.server.clone()),
            input: vec![0; READ_BYTES].into_boxed_slice(),
            unread: 0..0,
        }
    }
}

impl Reactor for ScreenedTcp {
    type TcpStream = Screened;
    type Sleep = <TokioRuntime as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.tokio.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.tokio.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.tokio.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let this = self.clone();
        async move { Ok(this.screen(AsyncTcpStream::Plain(this.tokio.tcp_connect_addr(address).await?))) }
    }
}

/// A stream to the broker. Its input passes the screen; its output is lapin's own.
struct Screened {
    stream: Plain,
    screen: Screen,
    input: Box<[u8]>,
    /// What of the input the screen has not taken.
    unread: std::ops::Range<usize>,
}

impl AsyncRead for Screened {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            let (taken, passed) = this.screen.pass(&this.input[this.unread.clone()], out);
            this.unread.start += taken;
            if passed > 0 || out.is_empty() {
                return Poll::Ready(Ok(passed));
            }
            // All input was taken, and nothing of it passes: a part of a frame, or bytes that are dropped. After a
            // bounded number of such bytes something passes, so this ends.
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut this.input))?;
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            this.unread = 0..read;
        }
    }
}

impl AsyncWrite for Screened {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, pieces)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(cx)
    }
}

//! The way from the API servers to Postgres, which a fault run can cut: all at once, or at an answer that is on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const BUFFER: usize = 16 * 1024;

/// Forwards connections to a port of this machine.
pub struct DatabaseLink {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: u16,
    /// Counts cuts: what was connected before the last one is no more.
    cuts: watch::Sender<u64>,
    /// Answers that pass before one takes its connection down; nothing happens while negative.
    answers_left: AtomicI64,
}

impl DatabaseLink {
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared { target, cuts: watch::Sender::new(0), answers_left: AtomicI64::new(-1) });
        tokio::spawn(accept(listener, shared.clone()));
        Self { port, shared }
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts a connection in place of an answer, after so many others: whether its request was done, nobody is told.
    pub fn cut_answer_after(&self, answers: i64) {
        self.shared.answers_left.store(answers, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(forward(client, shared.clone()));
    }
}

async fn forward(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = copy(from_client, to_server, || true) => {}
        () = copy(from_server, to_client, || shared.lets_answer_pass()) => {}
        _ = cuts.changed() => {}
    }
}

impl Shared {
    fn lets_answer_pass(&self) -> bool {
        if self.answers_left.load(Ordering::Relaxed) < 0 {
            return true;
        }
        self.answers_left.fetch_sub(1, Ordering::Relaxed) != 0
    }
}

/// Copies until an end closes or something may not pass.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, passes: impl Fn() -> bool) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if !passes() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

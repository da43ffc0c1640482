//! LISTEN and NOTIFY between processes, outside of every write transaction: inside one, NOTIFY costs most of the throughput.

use std::future::poll_fn;
use std::time::Duration;

use tokio_postgres::{AsyncMessage, Config, NoTls};

use super::Store;
use super::connect::limit_time;
use crate::error::Chain;

/// A pause between attempts to connect.
const RECONNECT: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Commits wait for positions.
    Committed,
    /// Positions were appended.
    Positioned,
}

impl Channel {
    fn name(self) -> &'static str {
        match self {
            Channel::Committed => "threeport_committed",
            Channel::Positioned => "threeport_positioned",
        }
    }
}

impl Store {
    /// Sends a nudge; a lost one costs a poll's delay.
    pub async fn nudge(&self, channel: Channel) {
        let sent = async {
            let connection = self.pool.get().await?;
            connection.batch_execute(&format!("NOTIFY {}", channel.name())).await?;
            Ok::<_, crate::error::Error>(())
        };
        if let Err(error) = sent.await {
            tracing::debug!(error = %Chain(&error), channel = channel.name(), "nudge not sent");
        }
    }
}

/// Rings this process's bells for nudges of others; connects again when the connection breaks.
pub async fn listen(store: &Store, database: &Config) {
    loop {
        if let Err(error) = listen_once(store, database).await {
            tracing::warn!(error = %Chain(&error), "listening for nudges failed; polling meanwhile");
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn listen_once(store: &Store, database: &Config) -> Result<(), tokio_postgres::Error> {
    let mut database = database.clone();
    limit_time(&mut database);
    let (client, mut connection) = database.connect(NoTls).await?;
    let subscribe = format!("LISTEN {}; LISTEN {}", Channel::Committed.name(), Channel::Positioned.name());
    let receive = async {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message? {
                match notification.channel() {
                    channel if channel == Channel::Committed.name() => store.bells.remote.notify_one(),
                    channel if channel == Channel::Positioned.name() => store.bells.positioned.notify_one(),
                    _ => {}
                }
            }
        }
        Ok(())
    };
    // The client must live as long as the connection, which answers it.
    let (listening, received) = tokio::join!(client.batch_execute(&subscribe), receive);
    listening.and(received)
}

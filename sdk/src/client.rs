//! The client of the API: typed and erased calls over `ObjectService`, with retries that are safe.

mod call;
mod control;
mod erased;
mod merge;
mod typed;
mod wait;
mod watch;

use std::time::Duration;

use threeport::v1::control_service_client::ControlServiceClient;
use threeport::v1::object_service_client::ObjectServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

pub use self::control::ControlClient;
pub use self::erased::{ApplyOptions, DeleteOptions, WriteOptions};
pub use self::typed::{Applied, Filter, Listing, Page};
pub use self::watch::{Change, ErasedChange, WatchOptions};
use crate::Error;
use crate::context::{Context, Contexts};

/// The largest message taken or sent.
const MESSAGE_LIMIT: usize = 32 * 1024 * 1024;

/// Where the API server is and who calls.
#[derive(Clone, Default)]
pub struct Connection {
    /// `http://127.0.0.1:8080`.
    pub server: String,
    /// The bearer token; empty for none.
    pub token: String,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).field("token", &"(sensitive)").finish()
    }
}

/// A connection that is made when first used, kept alive and made again. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    server: String,
    channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.server).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares a client; nothing is sent yet.
    ///
    /// # Errors
    /// When the address is not an `http://` URL or the token holds characters that no header can.
    pub fn connect(connection: &Connection) -> Result<Self, Error> {
        let server = connection.server.trim_end_matches('/').to_owned();
        let refuse = |why: String| Error::Configuration(format!("server address `{server}` {why}"));
        if !server.starts_with("http://") {
            return Err(refuse("must begin with http://, such as http://127.0.0.1:8080".into()));
        }
        let endpoint = Endpoint::from_shared(server.clone()).map_err(|error| refuse(format!("is no URL: {error}")))?;
        let channel = endpoint
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .http2_max_header_list_size(64 * 1024)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .connect_lazy();
        let authorization = authorization(&connection.token)?;
        Ok(Self { server, channel, authorization, timeout: Duration::from_secs(30) })
    }

    /// Prepares a user's client as tptctl does: from `THREEPORT_SERVER` and `THREEPORT_TOKEN`, else the current context.
    ///
    /// # Errors
    /// As [`Client::connect`], or when there is neither.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_context(&Contexts::load(&Contexts::path()?)?.resolve(None)?)
    }

    /// Prepares a client for a context.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn from_context(context: &Context) -> Result<Self, Error> {
        Self::connect(&Connection { server: context.server.clone(), token: context.token.clone() })
    }

    /// The same client, each of whose calls has this long, retries included (default 30 s).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The address that was connected to.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// What controllers need beyond objects.
    pub fn control(&self) -> ControlClient {
        self.clone().into()
    }

    fn objects(&self) -> ObjectServiceClient<Channel> {
        ObjectServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }

    fn control_service(&self) -> ControlServiceClient<Channel> {
        ControlServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }
}

fn authorization(token: &str) -> Result<Option<MetadataValue<Ascii>>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| {
        Error::Configuration("the token holds characters that no header can; copy it again, without line breaks".into())
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_never_shown() {
        let connection = Connection { server: "http://127.0.0.1:1".into(), token: "hidden".into() };
        let client = Client::connect(&connection).unwrap();
        assert!(!format!("{connection:?} {client:?}").contains("hidden"));
        let error = Client::connect(&Connection { token: "hid\nden".into(), ..connection }).unwrap_err();
        assert!(!error.to_string().contains("hid\n"));
    }

    #[tokio::test]
    async fn an_address_without_scheme_is_refused() {
        let connection = Connection { server: "localhost:8080".into(), token: String::new() };
        let message = Client::connect(&connection).unwrap_err().to_string();
        assert_eq!(message, "server address `localhost:8080` must begin with http://, such as http://127.0.0.1:8080");
    }
}

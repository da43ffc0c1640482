//! Many watchers while many changes are written: how far the slowest is behind the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use prost::Message;
use prost::bytes::Bytes;
use threeport::v1::{WatchRequest, WatchResponse};
use tonic::Streaming;
use tonic::client::Grpc;

use crate::latency::Latencies;
use crate::system::{Api, BytesCodec, config_map, definition};

/// Watchers of one connection.
const PER_CONNECTION: usize = 125;
/// Definitions that are written in turn.
const OBJECTS: usize = 50;
/// Writers of the changes.
const WRITERS: usize = 4;
const LIMIT: Duration = Duration::from_mins(1);
const WATCH: &str = "/threeport.v1.ObjectService/Watch";

/// What became of the watchers.
pub struct Watched {
    /// Changes a second that were really written.
    pub per_second: f64,
    /// By how much each of the watchers was behind the first one to see a commit, at worst.
    pub behind: Latencies,
}

/// When each commit was first seen by anybody, in nanoseconds since the start, by its number after the first position.
struct FirstSeen {
    base: i64,
    start: Instant,
    at: Vec<AtomicU64>,
}

/// Opens `count` watches of everything written, writes `rate` changes a second for `time`, and waits until all have seen all.
pub async fn measure(api: &Api, count: usize, rate: usize, time: Duration) -> Result<Watched> {
    let changes = rate * usize::try_from(time.as_secs())?;
    write(api, 0..OBJECTS, None, "first").await?;
    let base = settled_position(api).await?;
    let at = (0..=changes * 2).map(|_| AtomicU64::new(u64::MAX)).collect();
    let seen = Arc::new(FirstSeen { base, start: Instant::now(), at });
    let mut watchers = Vec::new();
    let mut connection = Api::connect(&api.address, &api.token);
    for number in 0..count {
        if number % PER_CONNECTION == 0 {
            connection = Api::connect(&api.address, &api.token);
        }
        let stream = open(&connection, base).await?;
        watchers.push(tokio::spawn(follow(stream, seen.clone(), changes)));
    }
    let began = Instant::now();
    let each = changes / WRITERS;
    let writers = (0..WRITERS).map(|writer| {
        let every = Duration::from_secs(1) * u32::try_from(WRITERS).unwrap_or(1) / u32::try_from(rate).unwrap_or(1);
        let api = Api::connect(&api.address, &api.token);
        async move { write(&api, writer * each..(writer + 1) * each, Some(every), "changed").await }
    });
    futures::future::try_join_all(writers).await?;
    let per_second = crate::report::real(changes as u64) / began.elapsed().as_secs_f64();
    let mut behind = Latencies::default();
    for watcher in watchers {
        let longest = tokio::time::timeout(LIMIT, watcher).await.context("a watcher never saw all changes")??;
        behind.add(longest?);
    }
    Ok(Watched { per_second, behind })
}

/// Writes definitions in turn, one commit each.
async fn write(api: &Api, numbers: std::ops::Range<usize>, every: Option<Duration>, what: &str) -> Result<()> {
    let mut ticks = every.map(tokio::time::interval);
    for number in numbers {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let name = format!("watched-{}", number % OBJECTS);
        let document = definition(&name, &config_map("settings", "number", &format!("{what}-{number}")));
        api.apply(&[document]).await.context("writing a definition")?;
    }
    Ok(())
}

/// The log's position when all that was written has one.
async fn settled_position(api: &Api) -> Result<i64> {
    let mut before = -1;
    loop {
        let request = threeport::v1::ListObjectsRequest { kind: "project".into(), ..Default::default() };
        let position = api.client.clone().list(request).await?.into_inner().position;
        if position == before {
            return Ok(position);
        }
        before = position;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// A watch whose messages stay as they are: a thousand clients in one process would measure their own decoding.
async fn open(api: &Api, from: i64) -> Result<Streaming<Bytes>> {
    let kinds = vec!["workload-definition".to_owned()];
    let request = WatchRequest { kinds, from_position: from, ..Default::default() };
    let mut client = Grpc::new(api.channel.clone());
    client.ready().await.context("connecting")?;
    let request = tonic::Request::new(Bytes::from(request.encode_to_vec()));
    let answer = client.server_streaming(request, WATCH.parse()?, BytesCodec).await;
    Ok(answer.context("watching definitions")?.into_inner())
}

/// Reads until all changes were seen; returns by how much it was behind the first to see one, at worst.
async fn follow(mut stream: Streaming<Bytes>, first: Arc<FirstSeen>, changes: usize) -> Result<Duration> {
    let (mut longest, mut seen, mut last) = (Duration::ZERO, 0, first.base);
    while seen < changes {
        let message = stream.message().await?.context("a watch ended")?;
        let (position, has_events) = glance(&message)?;
        ensure!(position >= last, "a watch went back from position {last} to {position}");
        if !has_events {
            continue;
        }
        (last, seen) = (position, seen + 1);
        let now = u64::try_from(first.start.elapsed().as_nanos())?;
        let place = usize::try_from(position - first.base)?;
        let at = first.at.get(place).context("more commits than changes")?.fetch_min(now, Ordering::Relaxed);
        longest = longest.max(Duration::from_nanos(now.saturating_sub(at)));
    }
    Ok(longest)
}

/// The position and whether there is an event: the first field, a varint, and the second one's tag.
fn glance(message: &Bytes) -> Result<(i64, bool)> {
    let mut rest = message.clone();
    let (field, _) = prost::encoding::decode_key(&mut rest)?;
    if field != 1 {
        return Ok((WatchResponse::decode(message.clone())?.position, true));
    }
    let position = i64::try_from(prost::encoding::decode_varint(&mut rest)?)?;
    let has_events = !rest.is_empty() && prost::encoding::decode_key(&mut rest)?.0 == 2;
    Ok((position, has_events))
}

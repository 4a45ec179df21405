//! The stream of matches: pictures that a saved search found, published by the search services.
//!
//! The subject of a match contains the saved search, the image and its content, and JetStream stores
//! at most one message for each subject. A match is therefore stored once, also if two services find
//! it, or if one finds it twice.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::connect::Bus;
use crate::error::Error;
use crate::events::{StreamPosition, to_unix_nanos};

/// How long the server keeps a consumer that reads a page.
const PAGE_CONSUMER_TIMEOUT: Duration = Duration::from_secs(5);

/// A picture that a saved search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatchRecord {
    /// The id of the saved search, in hexadecimal.
    pub saved_search: String,
    pub saved_search_name: String,
    pub library: String,
    pub image_id: String,
    /// Below the library's root, when the picture was found.
    pub path: String,
    /// BLAKE3 of the file's content, in hexadecimal.
    pub content_hash: String,
    /// Cosine, −1 to 1.
    pub score: f32,
    /// The name of the band, if the score has one.
    pub band: Option<String>,
    /// When the picture was found, in milliseconds since 1970.
    pub at_ms: i64,
}

/// A match and its place in the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMatch {
    pub position: StreamPosition,
    pub record: MatchRecord,
}

/// Matches of one saved search, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct MatchPage {
    pub matches: Vec<StoredMatch>,
    /// Whether more matches follow.
    pub more: bool,
}

impl Bus {
    pub(crate) async fn ensure_matches(
        &self,
        max_bytes: i64,
        max_age: Duration,
    ) -> Result<(), Error> {
        let config = stream::Config {
            name: self.matches_stream(),
            subjects: vec![self.matches_subject(">")],
            description: Some("Pictures that saved searches found".into()),
            retention: stream::RetentionPolicy::Limits,
            discard: stream::DiscardPolicy::Old,
            max_messages_per_subject: 1,
            max_bytes,
            max_age,
            storage: stream::StorageType::File,
            num_replicas: self.settings.replicas,
            allow_direct: true,
            ..Default::default()
        };
        let created = self.jetstream.create_or_update_stream(config).await;
        created
            .map(|_| ())
            .map_err(|e| Error::jetstream_failure("creating the stream of matches")(e.into()))
    }

    /// Stores a match unless it is stored already. Returns whether it is new.
    ///
    /// # Errors
    /// [`Error::StreamMissing`] if the stream was deleted.
    pub async fn publish_match(&self, record: &MatchRecord) -> Result<bool, Error> {
        let subject = self.matches_subject(&format!(
            "{}.{}.{}",
            record.saved_search, record.image_id, record.content_hash
        ));
        let message = PublishMessage::build()
            .payload(serde_json::to_vec(record)?.into())
            .expected_stream(self.matches_stream())
            .expected_last_subject_sequence(0);
        let publish_error = |e: PublishError| match e.kind() {
            PublishErrorKind::StreamNotFound => Error::StreamMissing,
            _ => Error::jetstream_failure("publishing a match")(e.into()),
        };
        let sent = self.jetstream.send_publish(subject, message).await;
        match sent.map_err(publish_error)?.await {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
            Err(e) => Err(publish_error(e)),
        }
    }

    /// Reads the matches of all saved searches after the position `after`; all stored ones if it is
    /// `None` or of another stream.
    ///
    /// # Errors
    /// [`Error::StreamMissing`] if the stream was deleted.
    pub async fn read_all_matches(
        &self,
        after: Option<StreamPosition>,
    ) -> Result<MatchReader, Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("reading matches")(e)
        };
        let stream = self.get_stream(self.matches_stream()).await?;
        let end = end_of(&stream);
        let deliver_policy = match after {
            Some(position) if position.is_within(&end) => start_after(position.sequence),
            _ => DeliverPolicy::All,
        };
        let config = pull::OrderedConfig {
            deliver_policy,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await;
        let messages = consumer.map_err(|e| failed(e.into()))?.messages().await;
        Ok(MatchReader {
            stream_created_ns: end.stream_created_ns,
            messages: messages.map_err(|e| failed(e.into()))?,
        })
    }

    /// Returns the position of the last match.
    ///
    /// # Errors
    /// [`Error::StreamMissing`] if the stream was deleted.
    pub async fn matches_end_position(&self) -> Result<StreamPosition, Error> {
        Ok(end_of(&self.get_stream(self.matches_stream()).await?))
    }

    /// Returns up to `limit` matches of a saved search, stored after the sequence number `after`.
    pub async fn read_match_page(
        &self,
        saved_search: &str,
        after: u64,
        limit: usize,
    ) -> Result<MatchPage, Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("reading a page of matches")(e)
        };
        let (consumer, stream_created_ns) = self.open_page(saved_search, after).await?;
        let name = consumer.cached_info().name.clone();
        let available = usize::try_from(consumer.cached_info().num_pending).unwrap_or(usize::MAX);
        let mut matches = Vec::new();
        if available > 0 {
            let request = consumer.fetch().max_messages(limit.min(available));
            let mut messages = request.messages().await.map_err(|e| failed(e.into()))?;
            // The client waits forever for a reply that was lost.
            while let Ok(Some(message)) = timeout(self.settings.call_timeout, messages.next()).await
            {
                let message = message.map_err(failed)?;
                matches.extend(decode_match(&message, stream_created_ns)?);
            }
        }
        self.close_page(&name).await;
        Ok(MatchPage {
            more: matches.len() < available,
            matches,
        })
    }

    /// Returns the number of stored matches of a saved search.
    pub async fn count_matches(&self, saved_search: &str) -> Result<u64, Error> {
        let subjects = self.matches_subject(&format!("{saved_search}.>"));
        let counts = self.count_subjects(&subjects).await?;
        Ok(counts.into_values().sum())
    }

    /// Returns the numbers of stored matches by saved search; searches without matches are left out. Takes
    /// one round trip for every 100,000 matches.
    pub async fn count_all_matches(&self) -> Result<HashMap<String, u64>, Error> {
        self.count_subjects(&self.matches_subject(">")).await
    }

    /// Counts the matches with these subjects by saved search.
    async fn count_subjects(&self, subjects: &str) -> Result<HashMap<String, u64>, Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("counting matches")(e)
        };
        let stream = self.jetstream.get_stream_no_info(self.matches_stream());
        let stream = stream.await.map_err(|e| failed(e.into()))?;
        let listed = stream.info_with_subjects(subjects).await;
        let listed = listed.map_err(|e| failed(e.into()))?;
        // Each match has a subject of its own. Without this limit, the client requests another page to
        // find the end.
        let max_subjects = usize::try_from(listed.info.state.messages).unwrap_or(usize::MAX);
        let mut listed = listed.take(max_subjects);
        let prefix = self.matches_subject("");
        let mut counts = HashMap::new();
        while let Some(listed) = listed.next().await {
            let (subject, matches) = listed.map_err(|e| failed(e.into()))?;
            let rest = subject.strip_prefix(&prefix).unwrap_or_default();
            let saved_search = rest.split('.').next().unwrap_or_default();
            *counts.entry(saved_search.to_owned()).or_default() += matches as u64;
        }
        Ok(counts)
    }

    pub(crate) async fn purge_matches(&self, saved_search: &str) -> Result<(), Error> {
        let stream = self.get_stream(self.matches_stream()).await?;
        let subject = self.matches_subject(&format!("{saved_search}.>"));
        let purged = stream.purge().filter(subject).await;
        purged
            .map(|_| ())
            .map_err(|e| Error::jetstream_failure("deleting matches")(e.into()))
    }

    /// Opens the matches of one saved search after a sequence number, for a short time.
    async fn open_page(
        &self,
        saved_search: &str,
        after: u64,
    ) -> Result<(async_nats::jetstream::consumer::PullConsumer, i64), Error> {
        let stream = self.get_stream(self.matches_stream()).await?;
        let config = pull::Config {
            filter_subject: self.matches_subject(&format!("{saved_search}.>")),
            deliver_policy: start_after(after),
            ack_policy: AckPolicy::None,
            inactive_threshold: PAGE_CONSUMER_TIMEOUT,
            memory_storage: true,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await;
        let consumer =
            consumer.map_err(|e| Error::jetstream_failure("opening the matches")(e.into()))?;
        Ok((consumer, end_of(&stream).stream_created_ns))
    }

    /// Deletes the consumer of a page: a stream has a limited number of them. The server deletes one that
    /// remains after [`PAGE_CONSUMER_TIMEOUT`].
    async fn close_page(&self, consumer: &str) {
        if let Ok(stream) = self.get_stream(self.matches_stream()).await
            && let Err(error) = stream.delete_consumer(consumer).await
        {
            tracing::debug!(%error, "the consumer of a page of matches remains for a while");
        }
    }

    pub(crate) fn matches_stream(&self) -> String {
        format!("{}_MATCHES", self.settings.namespace.to_ascii_uppercase())
    }

    pub(crate) fn matches_subject(&self, rest: &str) -> String {
        format!("{}.v1.matches.{rest}", self.settings.namespace)
    }
}

fn start_after(sequence: u64) -> DeliverPolicy {
    DeliverPolicy::ByStartSequence {
        start_sequence: sequence.saturating_add(1),
    }
}

fn end_of(stream: &stream::Stream) -> StreamPosition {
    let info = stream.cached_info();
    StreamPosition {
        stream_created_ns: to_unix_nanos(info.created),
        sequence: info.state.last_sequence,
    }
}

/// Returns the match in a message, or `None` if a newer version wrote it in another form.
pub(crate) fn decode_match(
    message: &async_nats::jetstream::Message,
    stream_created_ns: i64,
) -> Result<Option<StoredMatch>, Error> {
    let info = message.info();
    let info = info.map_err(Error::jetstream_failure("reading matches"))?;
    match serde_json::from_slice(&message.payload) {
        Ok(record) => Ok(Some(StoredMatch {
            position: StreamPosition {
                stream_created_ns,
                sequence: info.stream_sequence,
            },
            record,
        })),
        Err(error) => {
            let sequence = info.stream_sequence;
            tracing::error!(sequence, %error, "skipped a message that is not a match");
            Ok(None)
        }
    }
}

/// Reads matches in the order in which they were stored.
pub struct MatchReader {
    stream_created_ns: i64,
    messages: pull::Ordered,
}

impl MatchReader {
    /// Creation time of the stream, in nanoseconds since 1970. The client continues by sequence number
    /// in a recreated stream, so callers compare this with [`Bus::matches_end_position`].
    pub fn stream_created_ns(&self) -> i64 {
        self.stream_created_ns
    }

    /// Waits for the next match. The future may be dropped without losing one.
    ///
    /// # Errors
    /// After any error, call [`Bus::read_all_matches`] again with the last position.
    pub async fn next_match(&mut self) -> Result<StoredMatch, Error> {
        loop {
            let message = self.messages.next().await.ok_or(Error::StreamMissing)?;
            let message =
                message.map_err(|e| Error::jetstream_failure("reading matches")(e.into()))?;
            if let Some(found) = decode_match(&message, self.stream_created_ns)? {
                return Ok(found);
            }
        }
    }
}

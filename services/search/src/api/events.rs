//! The events of the index, as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use lookalike_bus::StoredMatch;
use lookalike_proto::OutcomeState;
use poem::web::Data;
use poem::web::sse::Event;
use poem_openapi::param::{Header, Query};
use poem_openapi::payload::EventStream;
use poem_openapi::types::ToJSON as _;
use poem_openapi::{ApiResponse, OpenApi};

use super::params::{ServiceData, example_library};
use super::refusals::EventsRefusal;
use super::schema::{EventBody, EventKind};
use super::tags::Tag;
use crate::core::event_feed::{
    EventReader, FeedEvent, FeedItem, FeedPlace, LiveEvent, NextEvent, Progress,
};
use crate::core::libraries::{check_library_exists, parse_library};
use crate::http::{AccessControl, link_prefix};
use crate::keys::{KeyRing, RequestKey};
use crate::problem::Problem;
use crate::time;

/// Shorter than the timeouts of common proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) struct EventApi;

type BoxedEvents = std::pin::Pin<Box<dyn Stream<Item = EventBody> + Send>>;

/// The stream of events.
#[derive(ApiResponse)]
pub(crate) enum EventsResponse {
    /// Events, until the client or the service ends the stream
    #[oai(status = 200)]
    Stream(EventStream<BoxedEvents>),
}

#[OpenApi]
impl EventApi {
    /// Watch what happens to the index
    ///
    /// A stream of server-sent events (`text/event-stream`). `event` is the `type` of the event, and
    /// `data` is its JSON. Events about one image are `indexed`, `removed`, `failed` and `match` (a
    /// saved search found it); `progress` has the counts of all libraries, at most once per second. To resume after an interruption, send
    /// the last `id` as `Last-Event-ID`, as browsers do. If events are missing, because that id is too
    /// old, the first event is `gap`: read the lists again. A client that reads too slowly gets
    /// `dropped`, and the stream ends. With an API key that is limited to libraries, the stream contains their
    /// events and counts only, and no `match`. The stream ends when its API key is revoked.
    #[oai(
        path = "/v1/events",
        method = "get",
        operation_id = "watchEvents",
        tag = "Tag::Status"
    )]
    async fn watch_events(
        &self,
        request: &poem::Request,
        service: ServiceData<'_>,
        access: Data<&Arc<AccessControl>>,
        /// Only this library. Events of the type `progress` count all libraries.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// The id of the last event that the client received.
        #[oai(name = "Last-Event-ID", validator(max_length = 80))]
        last_event_id: Header<Option<String>>,
    ) -> Result<EventsResponse, EventsRefusal> {
        check_library_exists(&service, "library", library.0.as_deref()).await?;
        let library = library
            .0
            .map(|name| parse_library("library", &name))
            .transpose()?;
        let after = last_event_id.0.map(|id| parse_event_id(&id)).transpose()?;
        let reader = service.subscribe_events(after.as_ref())?;
        let library = library.map(|name| name.to_string());
        let key = request.data::<RequestKey>().cloned();
        let key_change = wait_for_key_change(Arc::clone(&access.ring), key);
        let events = stream_events(reader, library, link_prefix()).take_until(key_change);
        let events: BoxedEvents = Box::pin(events);
        let events = EventStream::new(events).keep_alive(KEEP_ALIVE);
        Ok(EventsResponse::Stream(events.to_event(to_sse)))
    }
}

fn stream_events(
    reader: EventReader,
    library: Option<String>,
    prefix: String,
) -> impl Stream<Item = EventBody> + Send {
    futures_util::stream::unfold(Some(reader), move |reader| {
        let (library, prefix) = (library.clone(), prefix.clone());
        async move {
            let mut reader = reader?;
            loop {
                match reader.next().await {
                    NextEvent::Live(event) => {
                        let of = library_of(&event);
                        if library.as_ref().is_none_or(|name| name == of) {
                            return Some((feed_body(&event, &prefix), Some(reader)));
                        }
                    }
                    NextEvent::Progress(progress) => {
                        return Some((progress_body(progress), Some(reader)));
                    }
                    NextEvent::Gap => return Some((gap_body(), Some(reader))),
                    NextEvent::TooSlow => return Some((dropped_body(), None)),
                    NextEvent::Closed => return None,
                }
            }
        }
    })
}

/// Waits until the key of a request is revoked or changes; without a key, forever.
async fn wait_for_key_change(ring: Arc<KeyRing>, key: Option<RequestKey>) {
    match key {
        Some(RequestKey(key)) => ring.wait_for_change(&key).await,
        None => std::future::pending().await,
    }
}

fn to_sse(body: EventBody) -> Event {
    let event = Event::message(body.to_json_string()).event_type(body.r#type.clone());
    match &body.event_id {
        Some(id) => event.id(id.clone()),
        None => event,
    }
}

fn parse_event_id(id: &str) -> Result<FeedPlace, Problem> {
    FeedPlace::parse(id).ok_or_else(|| {
        Problem::invalid_parameter(
            "Last-Event-ID",
            "Last-Event-ID is not the id of an event: send the last `id` of this stream, or none",
        )
    })
}

fn library_of(event: &FeedEvent) -> &str {
    match &event.item {
        FeedItem::Outcome(outcome) => &outcome.library,
        FeedItem::Match(found) => &found.record.library,
    }
}

fn feed_body(event: &FeedEvent, prefix: &str) -> EventBody {
    let body = match &event.item {
        FeedItem::Outcome(outcome) => live_body(outcome, prefix),
        FeedItem::Match(found) => match_body(found, prefix),
    };
    EventBody {
        event_id: Some(event.place.format()),
        ..body
    }
}

fn match_body(found: &StoredMatch, prefix: &str) -> EventBody {
    let record = &found.record;
    EventBody {
        at: Some(time::format_time(record.at_ms)),
        library: Some(record.library.clone()),
        id: Some(record.image_id.clone()),
        image_url: Some(format!("{prefix}/v1/images/{}", record.image_id)),
        content_hash: Some(record.content_hash.clone()),
        saved_search: Some(record.saved_search.clone()),
        saved_search_name: Some(record.saved_search_name.clone()),
        score: Some(f64::from(record.score)),
        ..EventBody::empty(EventKind::Match)
    }
}

fn kind_of(state: &OutcomeState) -> EventKind {
    match state {
        OutcomeState::Removed => EventKind::Removed,
        OutcomeState::Failed { .. } => EventKind::Failed,
        // The feed has no other states.
        _ => EventKind::Indexed,
    }
}

fn live_body(event: &LiveEvent, prefix: &str) -> EventBody {
    let mut body = EventBody {
        at: Some(time::format_time(event.at_ms)),
        library: Some(event.library.clone()),
        id: Some(event.image_id.clone()),
        ..EventBody::empty(kind_of(&event.state))
    };
    match &event.state {
        OutcomeState::Removed => {}
        OutcomeState::Failed { code, detail } => {
            body.code = Some(code.clone());
            body.detail = Some(detail.clone());
        }
        // The feed has no other states.
        _ => body.image_url = Some(format!("{prefix}/v1/images/{}", event.image_id)),
    }
    body
}

fn progress_body(progress: Progress) -> EventBody {
    EventBody {
        on_disk: progress.on_disk,
        indexed: progress.indexed,
        failed: progress.failed,
        ignored: progress.ignored,
        in_flight: progress.in_flight,
        ..EventBody::empty(EventKind::Progress)
    }
}

fn gap_body() -> EventBody {
    EventBody {
        detail: Some(
            "events are missing here, because Last-Event-ID is too old or of another stream".into(),
        ),
        ..EventBody::empty(EventKind::Gap)
    }
}

fn dropped_body() -> EventBody {
    EventBody {
        detail: Some("this client reads more slowly than events arrive".into()),
        ..EventBody::empty(EventKind::Dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_texts_are_no_event_ids() {
        for id in ["", "1-1-1", "x"] {
            let problem = parse_event_id(id).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some("Last-Event-ID"), "{id}");
        }
    }

    #[test]
    fn each_outcome_has_its_event() {
        let event = |state| {
            let position = lookalike_bus::StreamPosition {
                stream_created_ns: 10,
                sequence: 2,
            };
            FeedEvent {
                place: FeedPlace {
                    outcomes: Some(position.clone()),
                    matches: None,
                },
                item: FeedItem::Outcome(LiveEvent {
                    position,
                    library: "shop".into(),
                    image_id: "ab".into(),
                    state,
                    at_ms: 0,
                }),
            }
        };
        let indexed = feed_body(&event(OutcomeState::Indexed), "/base").to_json_string();
        let indexed: serde_json::Value = serde_json::from_str(&indexed).unwrap();
        assert_eq!(indexed["type"], "indexed");
        assert_eq!(indexed["image_url"], "/base/v1/images/ab");
        assert_eq!(indexed["event_id"], "a-2");
        let failed = OutcomeState::Failed {
            code: "truncated".into(),
            detail: "ends early".into(),
        };
        let failed = feed_body(&event(failed), "").to_json_string();
        let failed: serde_json::Value = serde_json::from_str(&failed).unwrap();
        assert_eq!(failed["type"], "failed");
        assert_eq!(failed["code"], "truncated");
        assert!(failed.get("image_url").is_none());
        let removed = feed_body(&event(OutcomeState::Removed), "");
        assert_eq!(removed.r#type, "removed");
    }
}

//! The events of the index, as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::time::Duration;

use futures_util::Stream;
use lookalike_bus::StreamPosition;
use lookalike_proto::OutcomeState;
use poem::web::sse::Event;
use poem_openapi::param::{Header, Query};
use poem_openapi::payload::EventStream;
use poem_openapi::types::ToJSON as _;
use poem_openapi::{ApiResponse, OpenApi};

use super::params::{ServiceData, example_library};
use super::refusals::EventsRefusal;
use super::schema::{EventBody, EventKind};
use super::tags::Tag;
use crate::core::event_feed::{EventReader, LiveEvent, NextEvent, Progress};
use crate::core::libraries::{check_library_exists, parse_library};
use crate::http::link_prefix;
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
    /// `data` is its JSON. Events about one image are `indexed`, `removed` and `failed`; `progress`
    /// has the counts of all libraries, at most once per second. To resume after an interruption, send
    /// the last `id` as `Last-Event-ID`, as browsers do. If events are missing, because that id is too
    /// old, the first event is `gap`: read the lists again. A client that reads too slowly gets
    /// `dropped`, and the stream ends.
    #[oai(
        path = "/v1/events",
        method = "get",
        operation_id = "watchEvents",
        tag = "Tag::Status"
    )]
    async fn watch_events(
        &self,
        service: ServiceData<'_>,
        /// Only this library. Events of the type `progress` count all libraries.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// The id of the last event that the client received.
        #[oai(name = "Last-Event-ID", validator(max_length = 64))]
        last_event_id: Header<Option<String>>,
    ) -> Result<EventsResponse, EventsRefusal> {
        check_library_exists(&service, "library", library.0.as_deref()).await?;
        let library = library
            .0
            .map(|name| parse_library("library", &name))
            .transpose()?;
        let after = last_event_id.0.map(|id| parse_event_id(&id)).transpose()?;
        let reader = service.event_feed.subscribe(after.as_ref())?;
        let library = library.map(|name| name.to_string());
        let events: BoxedEvents = Box::pin(stream_events(reader, library, link_prefix()));
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
                        let is_wanted = library.as_ref().is_none_or(|name| *name == event.library);
                        if is_wanted {
                            return Some((live_body(&event, &prefix), Some(reader)));
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

fn to_sse(body: EventBody) -> Event {
    let event = Event::message(body.to_json_string()).event_type(body.r#type.clone());
    match &body.event_id {
        Some(id) => event.id(id.clone()),
        None => event,
    }
}

/// The creation time of the stream and the number of the message.
fn format_event_id(position: &StreamPosition) -> String {
    format!("{:x}-{}", position.stream_created_ns, position.sequence)
}

fn parse_event_id(id: &str) -> Result<StreamPosition, Problem> {
    let parse = || {
        let (created, sequence) = id.split_once('-')?;
        let is_written_here = created
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            && sequence.bytes().all(|b| b.is_ascii_digit());
        if !is_written_here {
            return None;
        }
        Some(StreamPosition {
            stream_created_ns: i64::from_str_radix(created, 16).ok()?,
            sequence: sequence.parse().ok()?,
        })
    };
    parse().ok_or_else(|| {
        Problem::invalid_parameter(
            "Last-Event-ID",
            "Last-Event-ID is not the id of an event: send the last `id` of this stream, or none",
        )
    })
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
        event_id: Some(format_event_id(&event.position)),
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
    fn event_ids_are_read_as_written() {
        let position = StreamPosition {
            stream_created_ns: 1_700_000_000_123_456_789,
            sequence: 42,
        };
        assert_eq!(
            parse_event_id(&format_event_id(&position)).unwrap(),
            position
        );
        for id in ["", "1", "x-1", "1-", "1-x", "1-1-1", "-", "+1-1", "A-1"] {
            let problem = parse_event_id(id).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some("Last-Event-ID"), "{id}");
        }
    }

    #[test]
    fn each_outcome_has_its_event() {
        let event = |state| LiveEvent {
            position: StreamPosition {
                stream_created_ns: 10,
                sequence: 2,
            },
            library: "shop".into(),
            image_id: "ab".into(),
            state,
            at_ms: 0,
        };
        let indexed = live_body(&event(OutcomeState::Indexed), "/base").to_json_string();
        let indexed: serde_json::Value = serde_json::from_str(&indexed).unwrap();
        assert_eq!(indexed["type"], "indexed");
        assert_eq!(indexed["image_url"], "/base/v1/images/ab");
        assert_eq!(indexed["event_id"], "a-2");
        let failed = OutcomeState::Failed {
            code: "truncated".into(),
            detail: "ends early".into(),
        };
        let failed = live_body(&event(failed), "").to_json_string();
        let failed: serde_json::Value = serde_json::from_str(&failed).unwrap();
        assert_eq!(failed["type"], "failed");
        assert_eq!(failed["code"], "truncated");
        assert!(failed.get("image_url").is_none());
        let removed = live_body(&event(OutcomeState::Removed), "");
        assert_eq!(removed.r#type, "removed");
    }
}

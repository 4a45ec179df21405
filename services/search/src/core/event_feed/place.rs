//! A place in the list of events: a position in each of the two streams.

use lookalike_bus::StreamPosition;

/// The stream of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FeedStream {
    Outcomes,
    Matches,
}

/// Positions up to which events are included. `None`: nothing is known of the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FeedPlace {
    pub outcomes: Option<StreamPosition>,
    pub matches: Option<StreamPosition>,
}

impl FeedPlace {
    fn get(&self, stream: FeedStream) -> Option<&StreamPosition> {
        match stream {
            FeedStream::Outcomes => self.outcomes.as_ref(),
            FeedStream::Matches => self.matches.as_ref(),
        }
    }

    pub(super) fn set(&mut self, stream: FeedStream, position: StreamPosition) {
        match stream {
            FeedStream::Outcomes => self.outcomes = Some(position),
            FeedStream::Matches => self.matches = Some(position),
        }
    }

    /// Whether the event at this position is not after the place.
    pub(super) fn includes(&self, (stream, position): (FeedStream, &StreamPosition)) -> bool {
        let end = self.get(stream);
        end.is_some_and(|end| position.is_within(end))
    }

    /// Whether all events after this place are after `before`, and it is not after `last`.
    pub(super) fn is_between(&self, before: &Self, last: &Self) -> bool {
        [FeedStream::Outcomes, FeedStream::Matches]
            .into_iter()
            .all(|stream| match (self.get(stream), before.get(stream)) {
                (Some(place), Some(before)) => {
                    let last = last.get(stream);
                    before.is_within(place) && last.is_some_and(|last| place.is_within(last))
                }
                (Some(_), None) => false,
                // The reader knows nothing of the stream, so it has no event of it.
                (None, Some(before)) => before.sequence == 0,
                (None, None) => true,
            })
    }

    /// Returns the text of the place: the position of the last outcome, and that of the last match.
    pub(crate) fn format(&self) -> String {
        let outcomes = self.outcomes.as_ref().map(format_position);
        let matches = self.matches.as_ref().map(format_position);
        match (outcomes, matches) {
            (Some(outcomes), Some(matches)) => format!("{outcomes}.{matches}"),
            (Some(outcomes), None) => outcomes,
            (None, Some(matches)) => format!("0-0.{matches}"),
            (None, None) => "0-0".to_owned(),
        }
    }

    /// Reads the text of a place.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (outcomes, matches) = match text.split_once('.') {
            Some((outcomes, matches)) => (outcomes, Some(parse_position(matches)?)),
            None => (text, None),
        };
        let outcomes = parse_position(outcomes)?;
        Some(Self {
            outcomes: Some(outcomes).filter(|position| position.stream_created_ns != 0),
            matches,
        })
    }
}

/// Returns the creation time of the stream in hexadecimal digits, and the number of the message.
pub(crate) fn format_position(position: &StreamPosition) -> String {
    format!("{:x}-{}", position.stream_created_ns, position.sequence)
}

fn parse_position(text: &str) -> Option<StreamPosition> {
    let (created, sequence) = text.split_once('-')?;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_written() {
        let position = |stream_created_ns, sequence| {
            Some(StreamPosition {
                stream_created_ns,
                sequence,
            })
        };
        for (outcomes, matches, text) in [
            (position(0x17a, 42), None, "17a-42"),
            (position(0x17a, 42), position(0x2b, 0), "17a-42.2b-0"),
            (None, position(0x2b, 7), "0-0.2b-7"),
            (None, None, "0-0"),
        ] {
            let place = FeedPlace { outcomes, matches };
            assert_eq!(place.format(), text);
            assert_eq!(FeedPlace::parse(text), Some(place));
        }
        for text in [
            "",
            "1",
            "x-1",
            "1-",
            "1-x",
            "1-1-1",
            "-",
            "+1-1",
            "A-1",
            "1-1.",
            ".1-1",
            "1-1.1-1.1-1",
        ] {
            assert_eq!(FeedPlace::parse(text), None, "{text}");
        }
    }
}

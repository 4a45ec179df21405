//! Reads a stream of server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use anyhow::{Result, bail};

/// Bounds one event; the service's events have less than 1 KiB.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// An event as the stream contains it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StreamedEvent {
    pub id: Option<String>,
    pub data: String,
}

/// Splits the bytes of a stream into events.
#[derive(Debug, Default)]
pub(crate) struct EventParser {
    /// Received, without a complete line.
    bytes: Vec<u8>,
    event: StreamedEvent,
    has_data: bool,
}

impl EventParser {
    /// Takes more bytes and returns the events that they complete.
    ///
    /// # Errors
    /// If an event is too large, because the stream is not one of lookalike.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) -> Result<Vec<StreamedEvent>> {
        self.bytes.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            events.extend(self.push_line(line.trim_end_matches(['\n', '\r'])));
        }
        if self.bytes.len() + self.event.data.len() > MAX_EVENT_BYTES {
            bail!("the stream has an event of more than {MAX_EVENT_BYTES} bytes");
        }
        Ok(events)
    }

    fn push_line(&mut self, line: &str) -> Option<StreamedEvent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data += value;
            }
            // Comments keep the connection alive; the type is in the data as well.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_arrive() {
        let stream = ": hello\n\nevent: indexed\r\nid: a-1\r\ndata: {\"a\":\r\ndata:  1}\r\n\r\n\
                      data:x\n\nid: a-2\n\n";
        let expected = [
            StreamedEvent {
                id: Some("a-1".into()),
                data: "{\"a\":\n 1}".into(),
            },
            StreamedEvent {
                id: None,
                data: "x".into(),
            },
        ];
        for size in [1, 3, 1000] {
            let mut parser = EventParser::default();
            let chunks = stream.as_bytes().chunks(size);
            let events: Vec<_> = chunks
                .flat_map(|chunk| parser.push_bytes(chunk).unwrap())
                .collect();
            assert_eq!(events, expected, "{size}");
        }
        let mut parser = EventParser::default();
        assert!(parser.push_bytes(&vec![b'x'; MAX_EVENT_BYTES + 1]).is_err());
    }
}

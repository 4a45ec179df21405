//! Decodes arbitrary bytes as every message between the roles: accepted messages must survive a round
//! trip unchanged. The first byte chooses the message.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use lookalike_bus::{EmbedderStatus, LibraryStatus, WatcherReply, WatcherRequest};
use lookalike_proto::wire::{EmbedReply, EmbedRequest};
use lookalike_proto::{FileEvent, Outcome};
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 8 {
        0 => {
            if let Ok(event) = FileEvent::decode(Bytes::copy_from_slice(bytes)) {
                assert_eq!(
                    FileEvent::decode(event.encode()).expect("encoded by us"),
                    event
                );
                assert!(event.message_id().is_ascii());
                // A received path must stay inside its library.
                let parts = event.path.as_str().split('/');
                assert!(
                    parts
                        .into_iter()
                        .all(|part| !matches!(part, "" | "." | ".."))
                );
            }
        }
        1 => {
            if let Ok(outcome) = Outcome::decode(Bytes::copy_from_slice(bytes)) {
                assert_eq!(
                    Outcome::decode(outcome.encode()).expect("encoded by us"),
                    outcome
                );
            }
        }
        2 => check_protobuf::<EmbedRequest>(bytes),
        3 => check_protobuf::<EmbedReply>(bytes),
        4 => check_json::<WatcherRequest>(bytes),
        5 => check_json::<WatcherReply>(bytes),
        6 => check_json::<LibraryStatus>(bytes),
        _ => check_json::<EmbedderStatus>(bytes),
    }
});

fn check_protobuf<M: Message + Default>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        // Compares bytes, because NaN differs from itself.
        let sent = message.encode_to_vec();
        let received = M::decode(&sent[..]).expect("encoded by us");
        assert_eq!(received.encode_to_vec(), sent);
    }
}

fn check_json<M: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<M>(bytes) {
        let sent = serde_json::to_vec(&message).expect("encoded by us");
        // Not compared: the last digit of a very large number may differ.
        let _: M = serde_json::from_slice(&sent).expect("encoded by us");
    }
}

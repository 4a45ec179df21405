//! Any bytes as any message between the roles: what is taken must come out the same when it is
//! sent on, and nothing else may happen. The first byte chooses the message.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use lookalike_bus::{EmbedderStatus, LibraryStatus, WatcherAnswer, WatcherQuestion};
use lookalike_proto::wire::{EmbedReply, EmbedRequest};
use lookalike_proto::{FileEvent, Outcome};
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    match which % 8 {
        0 => {
            if let Ok(event) = FileEvent::decode(Bytes::copy_from_slice(bytes)) {
                assert_eq!(FileEvent::decode(event.encode()).expect("our own"), event);
                assert!(event.message_id().is_ascii());
                // What came over the wire must not lead out of its library.
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
                assert_eq!(Outcome::decode(outcome.encode()).expect("our own"), outcome);
            }
        }
        2 => wire::<EmbedRequest>(bytes),
        3 => wire::<EmbedReply>(bytes),
        4 => json::<WatcherQuestion>(bytes),
        5 => json::<WatcherAnswer>(bytes),
        6 => json::<LibraryStatus>(bytes),
        _ => json::<EmbedderStatus>(bytes),
    }
});

fn wire<M: Message + Default>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        // By their bytes: numbers that are none are equal to nothing.
        let sent = message.encode_to_vec();
        let again = M::decode(&sent[..]).expect("our own");
        assert_eq!(again.encode_to_vec(), sent);
    }
}

fn json<M: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<M>(bytes) {
        let sent = serde_json::to_vec(&message).expect("our own");
        // The last digit of a very large number may differ.
        let _: M = serde_json::from_slice(&sent).expect("our own");
    }
}

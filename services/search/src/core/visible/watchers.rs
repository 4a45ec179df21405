//! The watchers of the visible libraries, and what they reply about them.

use lookalike_bus::{Bus, Error, WatcherReply, WatcherRequest};
use lookalike_proto::LibraryName;

use super::libraries::VisibleLibraries;

const NO_WATCHER: &str = "no watcher reports this library";

/// Sends requests to the watchers of visible libraries.
pub(crate) struct VisibleWatchers<'a> {
    bus: &'a Bus,
    libraries: &'a VisibleLibraries,
}

impl<'a> VisibleWatchers<'a> {
    pub(crate) fn new(bus: &'a Bus, libraries: &'a VisibleLibraries) -> Self {
        Self { bus, libraries }
    }

    pub(crate) fn are_reachable(&self) -> bool {
        self.bus.is_connected()
    }

    /// Sends a request to the watcher of one library.
    ///
    /// # Errors
    /// [`Error::NoResponders`] if no watcher replies in time, or the library is not visible.
    pub(crate) async fn send_request(
        &self,
        library: &LibraryName,
        request: WatcherRequest,
    ) -> Result<WatcherReply, Error> {
        if !self.libraries.contains(library.as_str()) {
            return Err(Error::NoResponders(NO_WATCHER));
        }
        let reply = self.bus.request_watcher((library.clone(), request)).await?;
        Ok(limit_reply(reply, self.libraries))
    }
}

/// Removes what a reply contains of other libraries.
fn limit_reply(reply: WatcherReply, libraries: &VisibleLibraries) -> WatcherReply {
    match reply {
        WatcherReply::FileHistory(history) => WatcherReply::FileHistory(
            history.filter(|history| libraries.contains(&history.library)),
        ),
        WatcherReply::Failures(mut page) => {
            page.failures
                .retain(|failure| libraries.contains(&failure.library));
            WatcherReply::Failures(page)
        }
        reply => reply,
    }
}

#[cfg(test)]
mod tests {
    use lookalike_bus::{FileFailure, FileFailurePage, FileHistory};

    use super::*;

    #[test]
    fn replies_contain_only_visible_files() {
        let visible = VisibleLibraries::only([LibraryName::new("shop").unwrap()]);
        let failure = |library: &str| FileFailure {
            id: String::new(),
            library: library.into(),
            path: "a.jpg".into(),
            state: "failed".into(),
            code: "truncated".into(),
            detail: String::new(),
            size: 1,
            since_ms: 1,
        };
        let page = |failures| {
            WatcherReply::Failures(FileFailurePage {
                failures,
                total: 1,
                has_more: false,
            })
        };
        let both = page(vec![failure("shop"), failure("home")]);
        assert_eq!(limit_reply(both, &visible), page(vec![failure("shop")]));
        for (library, is_visible) in [("shop", true), ("home", false)] {
            let history = FileHistory {
                library: library.into(),
                ..FileHistory::default()
            };
            let reply = WatcherReply::FileHistory(Some(Box::new(history)));
            let expected = match is_visible {
                true => reply.clone(),
                false => WatcherReply::FileHistory(None),
            };
            assert_eq!(limit_reply(reply, &visible), expected);
        }
    }
}

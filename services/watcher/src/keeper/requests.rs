//! Requests of the tasks. Replies are sent once the tick has committed.

use lookalike_bus::WatcherRequest;
use tokio::sync::oneshot;

use super::Keeper;
use crate::catalog;
use crate::clock::Now;
use crate::inbox::KeeperRequest;

impl Keeper {
    pub(super) fn handle_request(
        &mut self,
        request: KeeperRequest,
        now: Now,
    ) -> Result<(), catalog::Error> {
        match request {
            KeeperRequest::TakeEvents(limit, reply) => {
                let events = self.take_events(limit, now)?;
                self.reply_after_commit(reply, events);
            }
            KeeperRequest::RecordPublished(reports, reply) => {
                for report in reports {
                    self.record_published(&report, now)?;
                }
                self.reply_after_commit(reply, ());
            }
            KeeperRequest::ApplyOutcomes(id, outcomes, reply) => {
                self.apply_outcomes(id, &outcomes, now)?;
                self.reply_after_commit(reply, ());
            }
            KeeperRequest::ListOverdue(before_ns, limit, reply) => {
                let overdue = self.overdue_events(before_ns, limit, now)?;
                self.reply_after_commit(reply, overdue);
            }
            KeeperRequest::ResolveOverdue(resolved, reply) => {
                for (image_id, generation, disposition) in resolved {
                    self.resolve_overdue(&image_id, generation, disposition, now)?;
                }
                self.reply_after_commit(reply, ());
            }
            KeeperRequest::RecordContentCheck(report) => {
                let (libraries, mut tick) = self.borrow_for_tick(now);
                libraries.record_content_check(&report, &mut tick)?;
            }
            KeeperRequest::WatcherRequest(id, request, reply) => {
                let (libraries, mut tick) = self.borrow_for_tick(now);
                if matches!(request, WatcherRequest::Confirm) {
                    libraries.check_root_overlap(id);
                }
                let answer = libraries[id].handle_watcher_request(request, &mut tick)?;
                self.reply_after_commit(reply, answer);
            }
            KeeperRequest::BeginRecovery(id, reply) => {
                let (libraries, tick) = self.borrow_for_tick(now);
                let epoch = libraries[id].begin_recovery(&tick)?;
                self.reply_after_commit(reply, epoch);
            }
            KeeperRequest::ImportRows(id, rows, reply) => {
                let (libraries, mut tick) = self.borrow_for_tick(now);
                libraries[id].import_index_rows(&rows, &mut tick)?;
                self.reply_after_commit(reply, ());
            }
            KeeperRequest::Activate(id, reply) => {
                let (libraries, mut tick) = self.borrow_for_tick(now);
                let activated = libraries[id].activate_library(&mut tick)?;
                self.reply_after_commit(reply, activated);
            }
        }
        Ok(())
    }

    fn reply_after_commit<T: Send + 'static>(&mut self, reply: oneshot::Sender<T>, value: T) {
        self.replies.push(Box::new(move || drop(reply.send(value))));
    }
}

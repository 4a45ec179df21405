//! Queues of requests to the device thread.

use tokio::sync::{mpsc, oneshot};

use crate::error::Error;

/// Images or texts that are answered together; never more than one batch.
#[derive(Debug)]
pub(super) struct EmbedJob<T> {
    pub inputs: Vec<T>,
    pub reply: oneshot::Sender<Result<Vec<Vec<f32>>, Error>>,
}

/// A queue that can put back one job that did not fit into the last batch.
pub(super) struct JobQueue<T> {
    receiver: mpsc::Receiver<EmbedJob<T>>,
    held_back: Option<EmbedJob<T>>,
    /// All senders are gone.
    pub is_closed: bool,
}

impl<T> JobQueue<T> {
    pub(super) fn new(receiver: mpsc::Receiver<EmbedJob<T>>) -> Self {
        Self {
            receiver,
            held_back: None,
            is_closed: false,
        }
    }

    /// Returns the next job whose sender still waits, if there is one now.
    fn next_job(&mut self) -> Option<EmbedJob<T>> {
        loop {
            let job = match self.held_back.take() {
                Some(job) => job,
                None => match self.receiver.try_recv() {
                    Ok(job) => job,
                    Err(mpsc::error::TryRecvError::Empty) => return None,
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        self.is_closed = true;
                        return None;
                    }
                },
            };
            if !job.reply.is_closed() {
                return Some(job);
            }
        }
    }

    /// Takes the waiting jobs up to `max_inputs` in total, but at least one job if any waits.
    pub(super) fn take_batch(&mut self, max_inputs: usize) -> Vec<EmbedJob<T>> {
        let mut batch = Vec::new();
        let mut inputs = 0;
        while let Some(job) = self.next_job() {
            if !batch.is_empty() && inputs + job.inputs.len() > max_inputs {
                self.held_back = Some(job);
                break;
            }
            inputs += job.inputs.len();
            batch.push(job);
        }
        batch
    }

    /// Waits until a job arrives or the queue is closed. Cancel safe.
    pub(super) async fn wait_for_job(&mut self) {
        match self.receiver.recv().await {
            Some(job) => self.held_back = Some(job),
            None => self.is_closed = true,
        }
    }
}

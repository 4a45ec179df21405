//! Gives the decoder bytes and a thread, until the time for the decode is over.

use std::io::{self, IoSliceMut};

use jxl::{
    api::{JxlBitstreamInput, JxlParallelRunner, JxlParallelRunnerFun},
    error::Error as JxlError,
};

use crate::decode::deadline::CpuDeadline;

/// Gives the decoder the bytes of a file until the deadline has passed.
pub(crate) struct JxlInput<'a> {
    bytes: &'a [u8],
    position: usize,
    /// The decoder asks for more when it reaches this.
    pub end: usize,
    deadline: &'a CpuDeadline<'a>,
}

impl<'a> JxlInput<'a> {
    pub(crate) fn whole(bytes: &'a [u8], deadline: &'a CpuDeadline<'a>) -> Self {
        Self {
            bytes,
            position: 0,
            end: bytes.len(),
            deadline,
        }
    }
}

impl JxlBitstreamInput for JxlInput<'_> {
    fn available_bytes(&mut self) -> io::Result<usize> {
        Ok(self.end - self.position)
    }

    fn read(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.deadline.check_time()?;
        let begin = self.position;
        for buffer in buffers {
            let length = buffer.len().min(self.end - self.position);
            let end = self.position + length;
            buffer[..length].copy_from_slice(&self.bytes[self.position..end]);
            self.position = end;
        }
        Ok(self.position - begin)
    }

    fn skip(&mut self, bytes: usize) -> io::Result<usize> {
        self.deadline.check_time()?;
        let length = bytes.min(self.end - self.position);
        self.position += length;
        Ok(length)
    }
}

/// Decodes the groups of a frame one by one on the thread of the decode, whose time is limited.
pub(crate) struct JxlRunner<'a> {
    pub deadline: &'a CpuDeadline<'a>,
}

impl JxlParallelRunner for JxlRunner<'_> {
    fn run(&mut self, tasks: usize, task: &JxlParallelRunnerFun<'_>) -> Result<(), JxlError> {
        for index in 0..tasks {
            self.deadline.check_time()?;
            task(index)?;
        }
        Ok(())
    }

    fn num_threads(&self) -> usize {
        1
    }

    fn run_ordered(
        &mut self,
        tasks: usize,
        _max_threads: Option<usize>,
        task: &JxlParallelRunnerFun<'_>,
    ) -> Result<(), JxlError> {
        self.run(tasks, task)
    }
}

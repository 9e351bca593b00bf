//! Processes that share a backend: what they do is in `bin/process.rs`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::PATIENCE;
use crate::servers::{Watchdog, pause, signal};

/// One of them: killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    said: Arc<Said>,
    _watchdog: Watchdog,
}

#[derive(Debug, Default)]
struct Said {
    lines: Mutex<Vec<(String, String)>>,
    more: Condvar,
}

impl Process {
    /// Starts the program, which is `env!("CARGO_BIN_EXE_process")`, with a backend.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[must_use]
    pub fn start(program: &str, backend: &str) -> Self {
        let mut command = Command::new(program);
        command.env("CACHED_TESTS_BACKEND", backend).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it was built for this test");
        let watchdog = Watchdog::over(&child);
        let (output, said) = (child.stdout.take(), Arc::<Said>::default());
        let hear = Arc::clone(&said);
        thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let line = line.expect("it is text");
                let (word, text) = line.split_once(' ').expect("a word and a text");
                let text = serde_json::from_str(text).expect("it is JSON");
                lock(&hear.lines).push((word.to_owned(), text));
                hear.more.notify_all();
            }
        });
        Self { child, said, _watchdog: watchdog }
    }

    /// Tells it to do something.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn tell(&self, word: &str, text: &str) {
        let text = serde_json::to_string(text).expect("text is JSON");
        let mut input = self.child.stdin.as_ref().expect("it is a pipe");
        input.write_all(format!("{word} {text}\n").as_bytes()).expect("it listens");
    }

    /// All that it said after this word so far.
    #[must_use]
    pub fn said(&self, word: &str) -> Vec<String> {
        let said = lock(&self.said.lines);
        said.iter().filter(|(it, _)| it == word).map(|(_, text)| text.clone()).collect()
    }

    /// Tells it something that is answered, and returns the answer.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    #[must_use]
    pub fn ask(&self, word: &str, text: &str) -> String {
        let before = self.count("is");
        self.tell(word, text);
        self.wait("is", before)
    }

    /// Has it call a function, and returns what that returned.
    ///
    /// # Panics
    ///
    /// If it does not return.
    #[must_use]
    pub fn call(&self, function: &str, text: &str) -> String {
        let before = self.count("got");
        self.tell(function, text);
        self.wait("got", before)
    }

    fn count(&self, word: &str) -> usize {
        lock(&self.said.lines).iter().filter(|(it, _)| it == word).count()
    }

    /// What it says after this word when it has done so that often before.
    fn wait(&self, word: &str, before: usize) -> String {
        let lines = lock(&self.said.lines);
        let is_missing =
            |lines: &mut Vec<(String, String)>| lines.iter().filter(|(it, _)| it == word).count() <= before;
        let waited = self.said.more.wait_timeout_while(lines, PATIENCE, is_missing);
        let (lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let mut said = lines.iter().filter(|(it, _)| it == word);
        said.nth(before).unwrap_or_else(|| panic!("it does not answer: {word}")).1.clone()
    }

    /// What the body returns here.
    #[must_use]
    pub fn value(&self, text: &str) -> String {
        format!("{} bytes by {}", text.len(), self.child.id())
    }

    /// It stands still (`SIGSTOP`).
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn pause(&self) {
        pause(&self.child);
    }

    /// It goes on after [`pause`](Self::pause).
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn resume(&self) {
        signal(&self.child, "CONT");
    }

    /// Kills it (`SIGKILL`).
    pub fn kill(&mut self) {
        // It fails for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A directory of a test's own, and commands that keep to it.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use super::LIMIT;

/// Where one instance's things are.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("ps-").tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("admin.sock")
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The store's directory.
    pub fn store(&self) -> PathBuf {
        self.state().join("store")
    }

    /// Writes a file, in one step; its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let temporary = self.path("being-written");
        std::fs::write(&temporary, text).unwrap();
        std::fs::rename(temporary, &path).unwrap();
        path
    }

    /// The binary, knowing no other places than these.
    pub fn command(&self, args: &[&str]) -> Command {
        // Measurements want a release build.
        let binary =
            std::env::var_os("PROXY_STONE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_proxy-stone").into());
        let mut command = Command::new(binary);
        command
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("PROXY_STONE_SOCKET", self.socket())
            .env("PROXY_STONE_STATE_DIR", self.state())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        finish(self.command(args))
    }

    /// Runs a command that must succeed; what it printed.
    #[track_caller]
    pub fn print(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.code, 0, "{args:?}: {output:?}");
        output.stdout
    }

    /// Runs a command with `-o json`; its items.
    #[track_caller]
    pub fn items(&self, args: &[&str]) -> Vec<Value> {
        let text = self.print(&[args, &["-o", "json"]].concat());
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}\n{text}"));
        assert_eq!(document["version"], 1, "{text}");
        match &document["items"] {
            Value::Array(items) => items.clone(),
            Value::Null => vec![document.clone()],
            other => vec![other.clone()],
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Output {
    /// The exit code; 128 and the signal where one ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The messages that begin with `error`.
    pub fn errors(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.starts_with("error: ")).collect()
    }
}

/// Runs a command to its end, within the limit.
#[track_caller]
pub fn finish(mut command: Command) -> Output {
    let mut child = command.spawn().unwrap();
    let (done, ended) = mpsc::channel();
    let read = |pipe: Option<Box<dyn Read + Send>>, which: usize| {
        let done = done.clone();
        thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut text);
            }
            let _ = done.send((which, String::from_utf8_lossy(&text).into_owned()));
        });
    };
    read(child.stdout.take().map(|pipe| Box::new(pipe) as _), 0);
    read(child.stderr.take().map(|pipe| Box::new(pipe) as _), 1);
    let mut texts = [String::new(), String::new()];
    for _ in 0..2 {
        match ended.recv_timeout(LIMIT) {
            Ok((which, text)) => texts[which] = text,
            Err(_) => {
                let _ = child.kill();
                let rest: Vec<_> = ended.iter().take(1).collect();
                panic!("{command:?} does not end: {texts:?} {rest:?}");
            }
        }
    }
    let status = child.wait().unwrap();
    let [stdout, stderr] = texts;
    Output { code: super::proxy::code(status), stdout, stderr }
}

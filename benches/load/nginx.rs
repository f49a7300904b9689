//! The second reference: nginx, which returns the same status, headers and bytes as a constant from its
//! configuration. It is what a server in C that looks nothing up costs for one answer.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fmt::Write, thread};

use anyhow::{Context, bail};

use super::process::Process;
use super::target::Answer;

/// A parameter in nginx's configuration has to fit into a buffer of 4 KiB.
const CHUNK_BYTES: usize = 3_000;

/// Written by nginx itself, or by its own directives.
const OWN_HEADERS: [&str; 5] = ["content-length", "content-type", "date", "connection", "server"];

/// How often it is tried whether it listens, every 10 ms.
const TRIES: u32 = 500;

/// Starts nginx in `folder`; `None` where it is not installed.
pub(crate) fn start(
    folder: &Path,
    answer: &Answer,
    workers: usize,
) -> anyhow::Result<Option<Process>> {
    std::fs::create_dir_all(folder)?;
    // nginx cannot say which port it was given.
    let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let config = folder.join("nginx.conf");
    std::fs::write(&config, configuration(folder, addr, answer, workers)?)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&config).arg("-p").arg(folder).args(["-e", "stderr"]);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("cannot start nginx"),
    };
    let process = Process::listening(child, addr);
    for _ in 0..TRIES {
        if TcpStream::connect(addr).is_ok() {
            return Ok(Some(process));
        }
        thread::sleep(Duration::from_millis(10));
    }
    bail!("nginx does not listen on {addr}")
}

fn configuration(
    folder: &Path,
    addr: SocketAddr,
    answer: &Answer,
    workers: usize,
) -> anyhow::Result<String> {
    let folder = folder.display();
    let mut config = format!(
        "daemon off;\nuser root;\nworker_processes {workers};\npid {folder}/nginx.pid;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\naccess_log off;\nserver_tokens off;\nkeepalive_timeout 30s;\n\
         keepalive_requests 1000000000;\nreset_timedout_connection on;\n\
         client_body_temp_path {folder};\nproxy_temp_path {folder};\nfastcgi_temp_path {folder};\n\
         uwsgi_temp_path {folder};\nscgi_temp_path {folder};\n\
         server {{\nlisten {addr} backlog=4096;\nlocation / {{\n"
    );
    for (name, value) in answer.headers() {
        if name.eq_ignore_ascii_case("content-type") {
            writeln!(config, "default_type '{}';", quoted(value)?)?;
        } else if !OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            writeln!(config, "add_header {name} '{}' always;", quoted(value)?)?;
        }
    }
    let body = std::str::from_utf8(answer.body())?;
    let mut names = String::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rest.floor_char_boundary(CHUNK_BYTES));
        let name = format!("$body{}", names.len());
        writeln!(config, "set {name} '{}';", quoted(chunk)?)?;
        names.push_str(&name);
        rest = after;
    }
    writeln!(config, "return {} \"{names}\";\n}}\n}}\n}}", answer.expected().status)?;
    Ok(config)
}

/// A text between single quotes. nginx would read a `$` as a variable, and there is no way to say it.
fn quoted(text: &str) -> anyhow::Result<String> {
    if text.contains('$') {
        bail!("nginx cannot return a `$`");
    }
    Ok(text.replace('\\', "\\\\").replace('\'', "\\'"))
}

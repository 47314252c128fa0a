//! QEMU's machine protocol: JSON objects in both directions (QEMU's `docs/interop/qmp-spec`), with the commands that
//! scripts around a virtual machine use.

use super::link::LONGEST;
use beigebox::Machine;
use beigebox::monitor::{self, Answer, Rights, Wish, key_of, key_of_number};
use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a conversation has come to.
#[derive(Default)]
pub(super) struct Talk {
    ready: bool,
}

/// What commands see of the run.
#[derive(Clone, Copy)]
pub(super) struct State {
    pub(super) rights: Rights,
    pub(super) begun: bool,
}

/// The answer to one request.
pub(super) struct Reply {
    pub(super) text: String,
    pub(super) wish: Option<Wish>,
    pub(super) event: Option<String>,
}

fn line(value: &Value) -> String {
    format!("{value}\r\n")
}

fn version() -> Value {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0);
    json!({
        "qemu": {
            "major": part(env!("CARGO_PKG_VERSION_MAJOR")),
            "minor": part(env!("CARGO_PKG_VERSION_MINOR")),
            "micro": part(env!("CARGO_PKG_VERSION_PATCH")),
        },
        "package": concat!("Beigebox ", env!("CARGO_PKG_VERSION")),
    })
}

/// The first words to a peer.
pub(super) fn greeting() -> String {
    line(&json!({ "QMP": { "version": version(), "capabilities": [] } }))
}

/// An event; `cause` is whether the guest brought it about, and why.
pub(super) fn event(name: &str, cause: Option<(bool, &str)>) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut value = json!({
        "event": name,
        "timestamp": { "seconds": since.as_secs(), "microseconds": since.subsec_micros() },
    });
    if let (Some((guest, reason)), Some(object)) = (cause, value.as_object_mut()) {
        object.insert("data".into(), json!({ "guest": guest, "reason": reason }));
    }
    line(&value)
}

fn error(class: &str, description: impl Into<String>, id: Option<&Value>) -> String {
    let mut value = json!({ "error": { "class": class, "desc": description.into() } });
    if let (Some(id), Some(object)) = (id, value.as_object_mut()) {
        object.insert("id".into(), id.clone());
    }
    line(&value)
}

type Arguments = Map<String, Value>;
type Outcome = Result<(Value, Answer, Option<String>), String>;

/// A request that can be carried out.
pub(super) struct Request {
    name: String,
    arguments: Arguments,
    id: Option<Value>,
}

struct Command {
    name: &'static str,
    arguments: &'static [&'static str],
    run: fn(&Arguments, &mut Machine, State) -> Outcome,
}

fn plain(value: Value) -> Outcome {
    Ok((value, Answer::default(), None))
}
/// A command of the monitor, whose words are not looked at again.
fn operate(line: &str, machine: &mut Machine, state: State) -> Outcome {
    monitor::perform(machine, line, state.rights).map(|answer| (json!({}), answer, None))
}

fn text<'a>(arguments: &'a Arguments, name: &str) -> Result<&'a str, String> {
    match arguments.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("Invalid parameter type for '{name}', expected: string")),
        None => Err(format!("Parameter '{name}' is missing")),
    }
}

/// A file name that one word of the monitor's can hold.
fn word<'a>(arguments: &'a Arguments, name: &str) -> Result<&'a str, String> {
    let text = text(arguments, name)?;
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(format!("Parameter '{name}' must have no blanks"));
    }
    Ok(text)
}

const COMMANDS: &[Command] = &[
    Command { name: "qmp_capabilities", arguments: &["enable"], run: |_, _, _| plain(json!({})) },
    Command {
        name: "query-commands",
        arguments: &[],
        run: |_, _, _| plain(COMMANDS.iter().map(|command| json!({ "name": command.name })).collect()),
    },
    Command { name: "query-version", arguments: &[], run: |_, _, _| plain(version()) },
    Command {
        name: "query-status",
        arguments: &[],
        run: |_, _, state| {
            let running = matches!(state.rights, Rights::Operator { running: true, .. });
            let status = if running {
                "running"
            } else if state.begun {
                "paused"
            } else {
                "prelaunch"
            };
            plain(json!({ "running": running, "singlestep": false, "status": status }))
        },
    },
    Command { name: "query-name", arguments: &[], run: |_, _, _| plain(json!({})) },
    Command { name: "query-kvm", arguments: &[], run: |_, _, _| plain(json!({ "enabled": false, "present": false })) },
    Command { name: "stop", arguments: &[], run: |_, machine, state| operate("stop", machine, state) },
    Command { name: "cont", arguments: &[], run: |_, machine, state| operate("cont", machine, state) },
    Command { name: "quit", arguments: &[], run: |_, machine, state| operate("quit", machine, state) },
    Command { name: "system_reset", arguments: &[], run: |_, machine, state| operate("system_reset", machine, state) },
    Command {
        name: "system_powerdown",
        arguments: &[],
        run: |_, machine, state| {
            let (value, answer, _) = operate("system_powerdown", machine, state)?;
            Ok((value, answer, Some(event("POWERDOWN", None))))
        },
    },
    Command { name: "inject-nmi", arguments: &[], run: |_, machine, state| operate("nmi", machine, state) },
    Command {
        name: "screendump",
        arguments: &["filename", "format", "device", "head"],
        run: |arguments, machine, _| {
            let as_ppm = match arguments.get("format").and_then(Value::as_str) {
                None | Some("ppm") => true,
                Some("png") => false,
                Some(other) => return Err(format!("Parameter 'format' does not accept value '{other}'")),
            };
            monitor::dump_screen(machine, text(arguments, "filename")?, as_ppm)?;
            plain(json!({}))
        },
    },
    Command { name: "send-key", arguments: &["keys", "hold-time"], run: send_key },
    Command {
        name: "human-monitor-command",
        arguments: &["command-line", "cpu-index"],
        run: |arguments, machine, state| {
            let line = text(arguments, "command-line")?;
            // What goes wrong is part of the text, as in QEMU.
            let answer = monitor::perform(machine, line, state.rights);
            let answer =
                answer.unwrap_or_else(|problem| Answer { text: format!("Error: {problem}\n"), ..Answer::default() });
            Ok((json!(answer.text.replace('\n', "\r\n")), answer, None))
        },
    },
    Command {
        name: "eject",
        arguments: &["device", "id", "force"],
        run: |arguments, machine, state| {
            let device = word(arguments, if arguments.contains_key("id") { "id" } else { "device" })?;
            operate(&format!("eject {device}"), machine, state)
        },
    },
    Command {
        name: "blockdev-change-medium",
        arguments: &["device", "id", "filename", "format", "force", "read-only-mode"],
        run: |arguments, machine, state| {
            let device = word(arguments, if arguments.contains_key("id") { "id" } else { "device" })?;
            operate(&format!("change {device} {}", word(arguments, "filename")?), machine, state)
        },
    },
];

fn send_key(arguments: &Arguments, machine: &mut Machine, _state: State) -> Outcome {
    let Some(Value::Array(keys)) = arguments.get("keys") else {
        return Err("Parameter 'keys' is missing, or no list".into());
    };
    if keys.len() > 16 {
        return Err("more than 16 keys at once".into());
    }
    let key = |value: &Value| match value.get("type").and_then(Value::as_str) {
        Some("qcode") => value.get("data").and_then(Value::as_str).and_then(key_of),
        Some("number") => {
            let number = value.get("data").and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok());
            number.and_then(key_of_number)
        }
        _ => None,
    };
    let keys: Result<Vec<_>, String> =
        keys.iter().map(|value| key(value).ok_or_else(|| format!("{value} is no key"))).collect();
    monitor::type_chord(machine, &keys?)?;
    plain(json!({}))
}

impl Talk {
    /// Whether the peer has introduced itself, and so gets events.
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// The next request in what has come; `None` when it is not there as a whole. An error is the reply to it.
    pub(super) fn next(&self, input: &mut Vec<u8>) -> Option<Result<Request, String>> {
        let blanks = input.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        input.drain(..blanks);
        if input.is_empty() {
            return None;
        }
        let mut values = serde_json::Deserializer::from_slice(input).into_iter::<Value>();
        let value = match values.next()? {
            Ok(value) => {
                let end = values.byte_offset();
                input.drain(..end);
                value
            }
            Err(problem) if problem.is_eof() && input.len() <= LONGEST => return None,
            Err(problem) => {
                // From the next line on it may make sense again.
                let end = input.iter().position(|byte| *byte == b'\n').map_or(input.len(), |end| end + 1);
                let text = if problem.is_eof() { "too long".into() } else { problem.to_string() };
                input.drain(..if problem.is_eof() { input.len() } else { end });
                return Some(Err(error("GenericError", format!("JSON parse error, {text}"), None)));
            }
        };
        Some(self.request(value))
    }

    fn request(&self, value: Value) -> Result<Request, String> {
        let Value::Object(mut object) = value else {
            return Err(error("GenericError", "QMP input must be a JSON object", None));
        };
        let id = object.remove("id");
        let fail = |text: String| Err(error("GenericError", text, id.as_ref()));
        let name = match object.remove("execute") {
            Some(Value::String(name)) => name,
            Some(_) => return fail("QMP input member 'execute' must be a string".into()),
            None => return fail("QMP input lacks member 'execute'".into()),
        };
        let arguments = match object.remove("arguments") {
            None => Map::new(),
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return fail("QMP input member 'arguments' must be an object".into()),
        };
        if let Some(name) = object.keys().next() {
            return fail(format!("QMP input member '{name}' is unexpected"));
        }
        Ok(Request { name, arguments, id })
    }

    /// Carries out a request.
    pub(super) fn perform(&mut self, request: &Request, machine: &mut Machine, state: State) -> Reply {
        let id = request.id.as_ref();
        let failed = |class: &str, text: String| Reply { text: error(class, text, id), wish: None, event: None };
        let introduces = request.name == "qmp_capabilities";
        if introduces == self.ready {
            let text = if introduces {
                "Capabilities negotiation is already complete, command ignored"
            } else {
                "Expecting capabilities negotiation with 'qmp_capabilities'"
            };
            return failed("CommandNotFound", text.into());
        }
        let Some(command) = COMMANDS.iter().find(|command| command.name == request.name) else {
            return failed("CommandNotFound", format!("The command {} has not been found", request.name));
        };
        if let Some(name) = request.arguments.keys().find(|name| !command.arguments.contains(&name.as_str())) {
            return failed("GenericError", format!("Parameter '{name}' is unexpected"));
        }
        match (command.run)(&request.arguments, machine, state) {
            Ok((value, answer, event)) => {
                self.ready = true;
                let mut reply = json!({ "return": value });
                if let (Some(id), Some(object)) = (id, reply.as_object_mut()) {
                    object.insert("id".into(), id.clone());
                }
                Reply { text: line(&reply), wish: answer.wish, event }
            }
            Err(problem) => failed("GenericError", problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beigebox::host::Mode;

    fn talk(talk: &mut Talk, machine: &mut Machine, text: &[u8]) -> Vec<Value> {
        let mut input = text.to_vec();
        let state = State { rights: Rights::Operator { mode: Mode::Snapshot, running: true }, begun: true };
        let mut replies = Vec::new();
        while let Some(request) = talk.next(&mut input) {
            let reply = request.map_or_else(|error| error, |request| talk.perform(&request, machine, state).text);
            replies.push(serde_json::from_str(&reply).unwrap());
        }
        replies
    }

    #[test]
    fn requests_get_their_replies() {
        let (mut talker, mut pc) = (Talk::default(), Machine::builder().build().unwrap());
        let mut say = |text: &str| talk(&mut talker, &mut pc, text.as_bytes());
        assert_eq!(say(r#"{"execute":"query-status"}"#)[0]["error"]["class"], "CommandNotFound");
        assert_eq!(say(r#"{"execute":"qmp_capabilities","id":7}"#)[0], json!({ "return": {}, "id": 7 }));
        let status = json!({ "running": true, "singlestep": false, "status": "running" });
        assert_eq!(say("{\"execute\":\n \"query-status\"}")[0]["return"], status);
        assert_eq!(say(r#"{"execute":"stop"}{"execute":"query-version"}"#).len(), 2);
        let all = say(r#"{"execute":"query-commands"}"#);
        assert_eq!(all[0]["return"].as_array().unwrap().len(), COMMANDS.len());
        let keys = r#"{"execute":"send-key","arguments":{"keys":[{"type":"qcode","data":"ctrl"},{"type":"number","data":57}]}}"#;
        assert_eq!(say(keys)[0], json!({ "return": {} }));
        let human = say(r#"{"execute":"human-monitor-command","arguments":{"command-line":"xp 0xfffffff0 1"}}"#);
        assert_eq!(human[0]["return"], "fffffff0: ea\r\n");
        for (text, words) in [
            (r#"{"execute":"nonsense","id":[1]}"#, "nonsense"),
            (r#"{"execute":"stop","arguments":{"x":1}}"#, "'x' is unexpected"),
            (r#"{"execute":"screendump"}"#, "'filename' is missing"),
            (r#"{"execute":"screendump","arguments":{"filename":7}}"#, "expected: string"),
            (r#"{"execute":"send-key","arguments":{"keys":[{"type":"qcode","data":"no"}]}}"#, "is no key"),
            (r#"{"execute":"eject","arguments":{"device":"a b"}}"#, "no blanks"),
            (r#"{"execute":5}"#, "must be a string"),
            (r#"{"x":5}"#, "lacks"),
            ("[1]", "must be a JSON object"),
            ("nonsense}\n", "JSON parse error"),
        ] {
            let reply = say(text);
            let said = reply[0]["error"]["desc"].as_str().unwrap();
            assert!(said.contains(words), "{text}: {said}");
        }
        assert_eq!(say("}{]\n{\"execute\":\"query-name\"}")[1], json!({ "return": {} }));
    }

    #[test]
    fn what_never_ends_is_refused() {
        let (mut talker, mut pc) = (Talk::default(), Machine::builder().build().unwrap());
        let mut input = b"{\"execute\":\"".to_vec();
        assert!(talker.next(&mut input).is_none());
        input.resize(LONGEST + 1, b'x');
        assert!(matches!(talker.next(&mut input), Some(Err(text)) if text.contains("too long")));
        assert!(input.is_empty());
        // Nesting is bounded by the parser.
        let deep = "[".repeat(20_000);
        assert!(talk(&mut talker, &mut pc, deep.as_bytes())[0]["error"].is_object());
    }
}

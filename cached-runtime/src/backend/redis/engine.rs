//! The three operations, over any transport.

use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, ServerErrorKind, Value};

use super::super::driver::{Answer, DriverError, Expected, Found};
use super::Redis;
use super::command::{
    self, DELETE_IF_VERSION, SET_IF_FOREIGN, SET_IF_VERSION, Script, Stamped, VERSION_BYTES, milliseconds,
};
use super::node::Node;
use super::reply::{
    Taken, did, did_by_script, found, is_unknown_script, no_reply, only, refused, stored, taken,
};
use super::route::Router;
use super::slots::Map;
use super::transport::{Letter, Transport};

/// How often an operation turns to another server, or asks again, before it gives up.
const MOST_TURNS: usize = 8;
/// Before asking again for keys that are being moved.
const PAUSE: Duration = Duration::from_millis(2);

/// What a server's replies lead to.
enum Turn {
    Done(Answer<Vec<Value>>),
    /// Another server is to be asked: for this once, or from now on.
    To(Arc<Node>, bool),
    Again,
    /// Another server may have become responsible.
    Lost(DriverError),
}

pub(super) async fn get(
    router: &Router,
    transport: &impl Transport,
    keys: &[&str],
    deadline: Instant,
) -> Answer<Vec<Option<Found>>> {
    let map = router.map(transport, deadline).await?;
    match keys {
        [] => Ok(Vec::new()),
        [key] => {
            let replies = ask(router, transport, key, &[command::get(key)], deadline).await?;
            Ok(vec![found(only(replies)?)?])
        }
        [first, ..] if map.only().is_some() => {
            let replies = ask(router, transport, first, &[command::get_all(keys)], deadline).await?;
            match only(replies)? {
                Value::Array(values) if values.len() == keys.len() => values.into_iter().map(found).collect(),
                Value::ServerError(error) => Err(refused(&error)),
                _ => {
                    Err(DriverError::Failed("the server replied other than with a value for each key".into()))
                }
            }
        }
        _ => get_of_nodes(router, transport, &map, keys, deadline).await,
    }
}

/// Asks every node for its keys, all at the same time; then for each key by itself that one was not told of.
async fn get_of_nodes(
    router: &Router,
    transport: &impl Transport,
    map: &Map,
    keys: &[&str],
    deadline: Instant,
) -> Answer<Vec<Option<Found>>> {
    let mut replies: Vec<Option<Value>> = vec![None; keys.len()];
    let mut letters: Vec<Letter> = Vec::new();
    let mut places: Vec<Vec<usize>> = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        let Some(node) = map.node(key) else { continue };
        let at = letters.iter().position(|(other, _)| Arc::ptr_eq(other, node)).unwrap_or_else(|| {
            letters.push((Arc::clone(node), Vec::new()));
            places.push(Vec::new());
            letters.len() - 1
        });
        letters[at].1.push(command::get(key));
        places[at].push(place);
    }
    for (answer, places) in transport.exchange_each(&letters, deadline).await.into_iter().zip(places) {
        if matches!(answer, Err(DriverError::Busy)) {
            return Err(DriverError::Busy);
        }
        for (reply, place) in answer.into_iter().flatten().zip(places) {
            replies[place] = Some(reply);
        }
    }
    let mut all = Vec::with_capacity(keys.len());
    for (reply, key) in replies.into_iter().zip(keys) {
        all.push(match reply {
            Some(reply @ (Value::BulkString(_) | Value::Nil)) => found(reply)?,
            _ => found(only(ask(router, transport, key, &[command::get(key)], deadline).await?)?)?,
        });
    }
    Ok(all)
}

pub(super) async fn set(
    redis: &Redis,
    transport: &impl Transport,
    key: &str,
    value: &[u8],
    ttl: Option<Duration>,
    expected: Expected,
    deadline: Instant,
) -> Answer<bool> {
    let router = &redis.router;
    let bytes = value.len() + VERSION_BYTES;
    let answer = if router.limit.allows(bytes, Instant::now()) {
        let stamped = Stamped::new(value);
        match expected {
            Expected::Anything => {
                let set = command::set(key, &stamped, ttl);
                stored(&ask_and_tell(redis, transport, key, set, deadline).await?)
            }
            Expected::Nothing => set_if_nothing(router, transport, key, &stamped, ttl, deadline).await,
            Expected::Version(version) => {
                let arguments = |command: &mut Cmd| {
                    command.arg(&command::bytes_of(version)[..]);
                    stamped.put(command);
                    command.arg(ttl.map(milliseconds));
                };
                run(router, transport, &SET_IF_VERSION, key, arguments, deadline).await
            }
        }
    } else {
        Err(DriverError::TooLarge)
    };
    if matches!(answer, Err(DriverError::TooLarge)) {
        router.limit.refused(bytes, Instant::now());
        // What was there would otherwise be served on.
        delete(redis, transport, key, expected, deadline).await?;
    }
    if expected != Expected::Anything && matches!(answer, Ok(true)) {
        tell(redis, transport, key, deadline).await;
    }
    answer
}

async fn set_if_nothing(
    router: &Router,
    transport: &impl Transport,
    key: &str,
    stamped: &Stamped<'_>,
    ttl: Option<Duration>,
    deadline: Instant,
) -> Answer<bool> {
    let mut set = command::set(key, stamped, ttl);
    set.arg("NX");
    let replies = ask(router, transport, key, &[set, command::glance(key)], deadline).await?;
    let [set, glance] = replies.as_slice() else {
        return Err(DriverError::Failed("the server did not reply to each command".into()));
    };
    if stored(set)? {
        return Ok(true);
    }
    match taken(glance, stamped.version)? {
        Taken::Ours => Ok(true),
        Taken::Others => Ok(false),
        Taken::Foreign => {
            let arguments = |command: &mut Cmd| {
                stamped.put(command);
                command.arg(ttl.map(milliseconds));
            };
            run(router, transport, &SET_IF_FOREIGN, key, arguments, deadline).await
        }
    }
}

pub(super) async fn delete(
    redis: &Redis,
    transport: &impl Transport,
    key: &str,
    expected: Expected,
    deadline: Instant,
) -> Answer<bool> {
    match expected {
        Expected::Anything => {
            did(&ask_and_tell(redis, transport, key, command::delete(key), deadline).await?)
        }
        Expected::Nothing => Ok(false),
        Expected::Version(version) => {
            let arguments = |command: &mut Cmd| {
                command.arg(&command::bytes_of(version)[..]);
            };
            let deleted = run(&redis.router, transport, &DELETE_IF_VERSION, key, arguments, deadline).await?;
            if deleted {
                tell(redis, transport, key, deadline).await;
            }
            Ok(deleted)
        }
    }
}

/// Has a command done that changes a key, and others told of it at once.
async fn ask_and_tell(
    redis: &Redis,
    transport: &impl Transport,
    key: &str,
    command: Cmd,
    deadline: Instant,
) -> Answer<Value> {
    let mut commands = vec![command];
    commands.extend(telling(redis, key));
    let replies = ask(&redis.router, transport, key, &commands, deadline).await?;
    replies.into_iter().next().ok_or_else(no_reply)
}

/// Tells others of a key that was changed, which would not be undone if that fails.
async fn tell(redis: &Redis, transport: &impl Transport, key: &str, deadline: Instant) {
    if let Some(command) = telling(redis, key) {
        let _ = ask(&redis.router, transport, key, slice::from_ref(&command), deadline).await;
    }
}

fn telling(redis: &Redis, key: &str) -> Option<Cmd> {
    redis.voice.as_ref().map(|voice| command::publish(&voice.channel, &voice.message(key)))
}

/// Runs a script, by its hash if the server knows it.
async fn run(
    router: &Router,
    transport: &impl Transport,
    script: &Script,
    key: &str,
    arguments: impl Fn(&mut Cmd) + Send + Sync,
    deadline: Instant,
) -> Answer<bool> {
    let command = script.by_hash(key, &arguments);
    let reply = only(ask(router, transport, key, slice::from_ref(&command), deadline).await?)?;
    if !is_unknown_script(&reply) {
        return did_by_script(&reply);
    }
    let command = script.in_full(key, &arguments);
    did_by_script(&only(ask(router, transport, key, slice::from_ref(&command), deadline).await?)?)
}

/// Has the commands done by the server that is responsible for the key.
async fn ask(
    router: &Router,
    transport: &impl Transport,
    key: &str,
    commands: &[Cmd],
    deadline: Instant,
) -> Answer<Vec<Value>> {
    let mut node = responsible(&*router.map(transport, deadline).await?, key)?;
    let mut for_once = false;
    for _ in 0..MOST_TURNS {
        // What is too late is not begun, however fast the server would be.
        if Instant::now() >= deadline {
            return Err(DriverError::TimedOut);
        }
        let answer = if for_once {
            exchange_asking(transport, &node, commands, deadline).await
        } else {
            transport.exchange(&node, commands, deadline).await
        };
        match turn(router, &node, answer) {
            Turn::Done(answer) => return answer,
            Turn::To(other, once) => {
                if !once {
                    router.learn_once(transport, deadline).await;
                }
                (node, for_once) = (other, once);
            }
            Turn::Again => transport.pause(PAUSE).await,
            Turn::Lost(error) => {
                let Ok(map) = router.learn(transport, deadline).await else { return Err(error) };
                let other = responsible(&map, key)?;
                if other.address == node.address {
                    return Err(error);
                }
                (node, for_once) = (other, false);
            }
        }
    }
    Err(DriverError::Unavailable("the servers send each other's way".into()))
}

fn responsible(map: &Map, key: &str) -> Answer<Arc<Node>> {
    map.node(key).cloned().ok_or_else(|| DriverError::Unavailable("no node has the key's slot".into()))
}

fn turn(router: &Router, node: &Arc<Node>, answer: Answer<Vec<Value>>) -> Turn {
    let replies = match answer {
        Ok(replies) => replies,
        Err(DriverError::TimedOut) => {
            router.suspect(node);
            return Turn::Done(Err(DriverError::TimedOut));
        }
        Err(error @ DriverError::Unavailable(_)) if !router.is_fixed() => return Turn::Lost(error),
        Err(error) => return Turn::Done(Err(error)),
    };
    for reply in &replies {
        let Value::ServerError(error) = reply else { continue };
        if let Some((other, once)) = router.redirection(error, node) {
            return Turn::To(other, once);
        }
        match error.kind() {
            Some(ServerErrorKind::TryAgain) => return Turn::Again,
            Some(ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown) => router.suspect(node),
            Some(ServerErrorKind::ReadOnly) if !router.is_fixed() => return Turn::Lost(refused(error)),
            _ => {}
        }
    }
    Turn::Done(Ok(replies))
}

/// The commands, each with the leave to be done by a node that only just gets the key.
async fn exchange_asking(
    transport: &impl Transport,
    node: &Arc<Node>,
    commands: &[Cmd],
    deadline: Instant,
) -> Answer<Vec<Value>> {
    let asking: Vec<Cmd> =
        commands.iter().flat_map(|command| [redis::cmd("ASKING"), command.clone()]).collect();
    let replies = transport.exchange(node, &asking, deadline).await?;
    Ok(replies.into_iter().skip(1).step_by(2).collect())
}

//! Sequences of keys that somebody asked for, read from files or made.

use std::path::Path;
use std::{fs, io};

use crate::random::Random;

pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) requests: Vec<u32>,
}

impl Trace {
    /// The capacities to try: so many percent of the distinct keys, but never next to nothing.
    pub(crate) fn capacities(&self) -> [usize; 3] {
        let mut keys = self.requests.clone();
        keys.sort_unstable();
        keys.dedup();
        [1, 5, 20].map(|percent| (keys.len() * percent / 100).max(16))
    }
}

/// The files `NAME.u32le` of a folder, in the order of their names: little-endian keys. At most so many
/// requests of each.
pub(crate) fn read(folder: &Path, most: usize) -> io::Result<Vec<Trace>> {
    let in_folder = |error| io::Error::other(format!("{}: {error}", folder.display()));
    let files = fs::read_dir(folder).map_err(in_folder)?;
    let mut files = files.map(|file| Ok(file?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "u32le"));
    files.sort();
    if files.is_empty() {
        return Err(io::Error::other(format!("{}: there is no file NAME.u32le", folder.display())));
    }
    files.iter().map(|file| read_one(file, most)).collect()
}

fn read_one(file: &Path, most: usize) -> io::Result<Trace> {
    let bytes = fs::read(file)?;
    let (keys, rest) = bytes.as_chunks();
    if keys.is_empty() || !rest.is_empty() {
        return Err(io::Error::other(format!("{}: these are not keys of four bytes", file.display())));
    }
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Trace { name, requests: keys.iter().take(most).copied().map(u32::from_le_bytes).collect() })
}

/// How many keys those that are made ask for, of each kind.
const KEYS: u32 = 20_000;

/// What there is to be seen without a recording: popularity after Zipf, the same with scans between, and
/// a loop.
pub(crate) fn made(requests: usize) -> Vec<Trace> {
    let skewed = [0.7, 0.9, 1.1].map(|skew| (format!("zipf-{skew}"), zipf(skew).take(requests).collect()));
    let others = [
        ("zipf-0.9-scans".to_owned(), with_scans(zipf(0.9)).take(requests).collect()),
        ("loop".to_owned(), (0..KEYS / 10).cycle().take(requests).collect()),
    ];
    skewed.into_iter().chain(others).map(|(name, requests)| Trace { name, requests }).collect()
}

/// Keys of which the n-th is asked for in proportion to 1 / n^skew.
fn zipf(skew: f64) -> impl Iterator<Item = u32> {
    let mut sum = 0.0;
    let add = |rank| {
        sum += f64::from(rank).powf(-skew);
        sum
    };
    let cumulated: Vec<_> = (1..=KEYS).map(add).collect();
    let mut random = Random::new(0);
    std::iter::repeat_with(move || {
        let wanted = random.fraction() * sum;
        let key = cumulated.partition_point(|sum| *sum <= wanted);
        u32::try_from(key).unwrap_or(KEYS).min(KEYS - 1)
    })
}

/// After so many requests comes a scan of so many other keys, from where the last one ended.
const BETWEEN: u32 = 10_000;
const SCAN: u32 = 4_000;

fn with_scans(mut requests: impl Iterator<Item = u32>) -> impl Iterator<Item = u32> {
    let mut scanned = (KEYS..2 * KEYS).cycle();
    let turns = (0..BETWEEN + SCAN).cycle();
    turns.filter_map(move |turn| if turn < BETWEEN { requests.next() } else { scanned.next() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_are_parts_of_the_distinct_keys() {
        let trace = |requests| Trace { name: String::new(), requests };
        assert_eq!(trace((0..9939).chain(0..9939).collect()).capacities(), [99, 496, 1987]);
        assert_eq!(trace(vec![1, 1, 7]).capacities(), [16; 3]);
    }

    #[test]
    fn files_are_read_by_name_and_up_to_a_limit() {
        let folder = std::env::temp_dir().join(format!("cached-benches-traces-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("it can be made");
        let bytes: Vec<u8> = [1_u32, 2, 0x0102_0304].into_iter().flat_map(u32::to_le_bytes).collect();
        for (name, bytes) in [("b.u32le", &bytes[..]), ("a.u32le", &bytes[4..]), ("README.md", b"not keys")] {
            fs::write(folder.join(name), bytes).expect("it can be written");
        }
        let requests = |most| {
            let traces = read(&folder, most).expect("they are right");
            traces.into_iter().map(|trace| (trace.name, trace.requests)).collect::<Vec<_>>()
        };
        let expected = [("a".to_owned(), vec![2, 0x0102_0304]), ("b".to_owned(), vec![1, 2, 0x0102_0304])];
        assert_eq!(requests(10), expected);
        assert_eq!(requests(1), [("a".to_owned(), vec![2]), ("b".to_owned(), vec![1])]);

        fs::write(folder.join("c.u32le"), [1, 2, 3]).expect("it can be written");
        let error = read(&folder, 10).err().expect("three bytes are no key").to_string();
        assert!(error.ends_with("c.u32le: these are not keys of four bytes"), "{error}");
        fs::remove_dir_all(&folder).expect("it can be removed");
    }

    #[test]
    fn the_first_key_is_asked_for_most_and_as_often_as_zipf_says() {
        let requests: Vec<_> = zipf(1.1).take(100_000).collect();
        let count =
            |key| f64::from(u32::try_from(requests.iter().filter(|it| **it == key).count()).unwrap_or(0));
        let ratio = count(0) / count(9);
        assert!((10.0..16.0).contains(&ratio), "{ratio} is far from 10^1.1");
        assert!(requests.iter().all(|key| *key < KEYS));
    }

    #[test]
    fn scans_come_between_and_go_on_where_they_ended() {
        let requests: Vec<_> = with_scans(std::iter::repeat(0)).take(28_000).collect();
        let scanned: Vec<_> = requests.iter().copied().filter(|key| *key > 0).collect();
        assert_eq!(scanned, (KEYS..KEYS + 8000).collect::<Vec<_>>());
        assert_eq!((requests[9_999], requests[10_000], requests[14_000]), (0, KEYS, 0));
    }

    #[test]
    fn what_is_made_is_the_same_every_time() {
        for (one, other) in made(1000).into_iter().zip(made(1000)) {
            assert_eq!((one.requests.len(), &one.requests), (1000, &other.requests), "{}", one.name);
        }
    }
}

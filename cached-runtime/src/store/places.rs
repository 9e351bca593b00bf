//! Places in an index, and memory by place that comes as it is used.

use std::mem::ManuallyDrop;

use once_cell::race::OnceBox;

use crate::shim::AtomicU64;

/// Slots of a bucket.
pub(super) const WAYS: usize = 7;
/// So many buckets are allocated at once.
pub(super) const CHUNK: usize = 16;
/// So many chunks are in one group.
const GROUP: usize = 128;

/// Where an entry is, until the index moves it: the number of its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place(u32);

impl Place {
    /// Bits that no place uses.
    pub(super) const SPARE: u32 = 1 << 31;

    pub(super) fn new(bucket: usize, way: usize) -> Self {
        // There are never so many slots.
        Self(u32::try_from(bucket * WAYS + way).unwrap_or(u32::MAX) & !Self::SPARE)
    }

    pub(super) fn from_bits(bits: u32) -> Self {
        Self(bits & !Self::SPARE)
    }

    pub(super) fn bits(self) -> u32 {
        self.0
    }

    fn slot(self) -> usize {
        self.0 as usize
    }

    pub(super) fn bucket(self) -> usize {
        self.slot() / WAYS
    }

    pub(super) fn way(self) -> usize {
        self.slot() % WAYS
    }

    pub(super) fn of_bucket(bucket: usize) -> impl Iterator<Item = Self> {
        (0..WAYS).map(move |way| Self::new(bucket, way))
    }
}

/// Values by number; the default where none was set.
pub(super) struct ByNumber<V>(Vec<Option<Box<[V; CHUNK * WAYS]>>>);

impl<V: Copy + Default> ByNumber<V> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn get(&self, number: usize) -> V {
        let chunk = self.0.get(number / (CHUNK * WAYS)).and_then(Option::as_ref);
        chunk.map_or_else(V::default, |chunk| chunk[number % (CHUNK * WAYS)])
    }

    /// The value, to be changed.
    #[inline]
    pub(super) fn entry(&mut self, number: usize) -> &mut V {
        let chunk = number / (CHUNK * WAYS);
        if !matches!(self.0.get(chunk), Some(Some(_))) {
            self.make(chunk);
        }
        match &mut self.0[chunk] {
            Some(chunk) => &mut chunk[number % (CHUNK * WAYS)],
            None => unreachable!("it was made"),
        }
    }

    #[cold]
    #[inline(never)]
    fn make(&mut self, chunk: usize) {
        if self.0.len() <= chunk {
            self.0.resize_with(chunk + 1, || None);
        }
        self.0[chunk] = Some(Box::new([V::default(); CHUNK * WAYS]));
    }
}

/// Values by place; the default where none was set.
pub(super) struct ByPlace<V>(ByNumber<V>);

impl<V: Copy + Default> ByPlace<V> {
    pub(super) const fn new() -> Self {
        Self(ByNumber::new())
    }

    pub(super) fn get(&self, place: Place) -> V {
        self.0.get(place.slot())
    }

    pub(super) fn set(&mut self, place: Place, value: V) {
        *self.0.entry(place.slot()) = value;
    }

    /// Changes the value of a place.
    pub(super) fn change(&mut self, place: Place, change: impl FnOnce(&mut V)) {
        change(self.0.entry(place.slot()));
    }
}

/// Chunks that are made when they are first used, and stay: they can be read without a guard. They are not dropped,
/// and so there is no code for that.
pub(super) struct Chunks<C> {
    /// All that a small table needs, where nothing has to be known to find it.
    first: OnceBox<Group<C>>,
    further: ManuallyDrop<Vec<OnceBox<Group<C>>>>,
    chunk: fn() -> C,
}

type Group<C> = ManuallyDrop<[OnceBox<ManuallyDrop<C>>; GROUP]>;

impl<C> Chunks<C> {
    /// Room for the chunks of so many buckets, each of which begins as `chunk`.
    pub(super) fn new(buckets: usize, chunk: fn() -> C) -> Self {
        let most = buckets.div_ceil(CHUNK * GROUP).saturating_sub(1);
        let mut further = Vec::with_capacity(most);
        while further.len() < most {
            further.push(OnceBox::new());
        }
        Self { first: OnceBox::new(), further: ManuallyDrop::new(further), chunk }
    }

    #[inline]
    fn group(&self, bucket: usize) -> Option<&OnceBox<Group<C>>> {
        match (bucket / (CHUNK * GROUP)).checked_sub(1) {
            None => Some(&self.first),
            Some(number) => self.further.get(number),
        }
    }

    /// The chunk that a bucket is in, if it was made.
    #[inline]
    pub(super) fn get(&self, bucket: usize) -> Option<&C> {
        self.group(bucket)?.get()?[bucket / CHUNK % GROUP].get().map(|chunk| &**chunk)
    }

    /// The same, made if it is not there.
    pub(super) fn make(&self, bucket: usize) -> &C {
        let Some(group) = self.group(bucket) else { unreachable!("there is room for every bucket") };
        let group = group.get_or_init(|| Box::new(ManuallyDrop::new([const { OnceBox::new() }; GROUP])));
        group[bucket / CHUNK % GROUP].get_or_init(|| Box::new(ManuallyDrop::new((self.chunk)())))
    }

    /// All that were made.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &C> {
        let groups = std::iter::once(&self.first).chain(self.further.iter()).filter_map(OnceBox::get);
        groups.flat_map(|group| group.iter()).filter_map(OnceBox::get).map(|chunk| &**chunk)
    }
}

/// Numbers by place, for readers and writers without a lock; 0 where none was set.
pub(super) struct Marks(Chunks<[AtomicU64; CHUNK * WAYS]>);

impl Marks {
    /// Room for those of so many buckets.
    pub(super) fn new(buckets: usize) -> Self {
        Self(Chunks::new(buckets, || [const { AtomicU64::new(0) }; CHUNK * WAYS]))
    }

    pub(super) fn at(&self, place: Place) -> &AtomicU64 {
        &self.0.make(place.bucket())[place.bucket() % CHUNK * WAYS + place.way()]
    }
}

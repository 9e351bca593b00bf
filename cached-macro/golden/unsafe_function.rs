#[cached]
pub unsafe fn read(address: usize) -> u8 {
    *(address as *const u8)
}

#[cached]
fn area((width, height): (u32, u32), mut scale: u32, _: u8) -> u32 {
    scale += 1;
    width * height * scale
}

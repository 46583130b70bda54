import CLinux

/// Finds bytes in bytes.
package enum ByteSearch {
    /// Where `needle` begins at or behind `from`; `nil` when it is not there. The C library's `memmem`, which takes time in
    /// proportion to the length.
    package static func find(_ needle: [UInt8], in bytes: UnsafeRawBufferPointer, from: Int) -> Int? {
        guard let base = bytes.baseAddress, from >= 0, from <= bytes.count, !needle.isEmpty else { return nil }
        let place = hf_find(base + from, bytes.count - from, needle, needle.count)
        return place < 0 ? nil : from + place
    }
}

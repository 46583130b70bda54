/// Runs a system call that returns minus its errno, again as long as a signal interrupts it.
@inline(__always)
@discardableResult
func retrying(_ call: () -> Int) throws(Errno) -> Int {
    while true {
        let outcome = call()
        if outcome >= 0 { return outcome }
        if outcome != -4 { throw Errno(code: Int32(truncatingIfNeeded: -outcome)) }
    }
}

/// Gives a terminated copy of a file's name or path to `body`.
///
/// Throws `invalidArgument` when there is a zero byte in it, which no name can have.
package func withCName<R: ~Copyable>(
    _ name: UnsafeRawBufferPointer,
    _ body: (UnsafePointer<CChar>) throws(Errno) -> R
) throws(Errno) -> R {
    if name.contains(0) { throw .invalidArgument }
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: name.count + 1, alignment: 1)
    defer { copy.deallocate() }
    copy.copyMemory(from: name)
    copy[name.count] = 0
    return try body(UnsafePointer(copy.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: CChar.self)))
}

/// As the other `withCName`, for a name in an array.
package func withCName<R: ~Copyable>(
    _ name: [UInt8],
    _ body: (UnsafePointer<CChar>) throws(Errno) -> R
) throws(Errno) -> R {
    // withUnsafeBytes does not pass typed errors on, so the outcome travels in a variable.
    var failure: Errno?
    var value: R?
    name.withUnsafeBytes { bytes in
        do throws(Errno) { value = try withCName(bytes, body) } catch { failure = error }
    }
    if let failure { throw failure }
    return value.take()!
}

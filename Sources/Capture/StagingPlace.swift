import Platform

/// A place for content that has to be taken at once and read later: files without a name, which end with the process.
struct StagingPlace {
    /// Programs wait while a database without a log is taken, and the log of another grows.
    private static let longestLogged: UInt64 = 256 << 20
    /// No disk takes more in the two seconds for which they wait.
    private static let longestShared: UInt64 = 4 << 30
    private static let step = 1 << 20

    /// A directory of this program.
    let directory: [UInt8]

    /// Takes a database; `nil` where there is no room for it, or too little to take it from others. It may use a quarter
    /// of what is free.
    ///
    /// Throws `timedOut` when that takes too long.
    func take(_ snapshot: SQLiteSnapshot) throws(Errno) -> DirectoryHandle? {
        guard
            let place = try? FileDescriptor.open(directory, [.readOnly, .directory]),
            let space = try? FileSystem.space(descriptor: place.raw), snapshot.size <= space.available / 4,
            let opened = try? FileDescriptor.open(at: place.raw, [UInt8(ascii: ".")], [.readWrite, .unnamed])
        else { return nil }
        let file = DirectoryHandle(opened)
        if !snapshot.isLogged, (try? file.descriptor.clone(from: snapshot.file.descriptor)) == true { return file }
        let longest = snapshot.isLogged ? StagingPlace.longestLogged : StagingPlace.longestShared
        if snapshot.size > longest { return nil }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: StagingPlace.step, alignment: 4096)
        defer { buffer.deallocate() }
        var offset: UInt64 = 0
        while offset < snapshot.size {
            let wanted = Int(min(UInt64(StagingPlace.step), snapshot.size - offset))
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
            let count = try snapshot.readFully(into: part, at: offset)
            if count < wanted { throw .again }
            do throws(Errno) { try file.descriptor.writeAll(UnsafeRawBufferPointer(part), at: offset) } catch {
                return nil
            }
            offset += UInt64(count)
        }
        return file
    }
}

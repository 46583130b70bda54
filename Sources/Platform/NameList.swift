import CLinux
import Glibc

/// All names of one directory, sorted by their bytes, in about 9 bytes each beside the name itself.
///
/// A directory with a million names of 20 bytes takes 28 MB here, and its order does not depend on the file system.
package struct NameList: ~Copyable {
    // Names stand one behind the other: kind (1 byte), name, zero. `offsets` has the place of each name's kind.
    private var storage: UnsafeMutableRawPointer
    private var room = NameList.smallestRoom
    private var used = 0
    private var offsets: [UInt32] = []

    private static let smallestRoom = 4096

    /// An empty list.
    package init() { storage = NameList.memory(nil, NameList.smallestRoom) }

    deinit { free(storage) }

    /// Memory that grows in place where it can: a copy would hold a large directory twice.
    private static func memory(_ old: UnsafeMutableRawPointer?, _ size: Int) -> UnsafeMutableRawPointer {
        guard let memory = realloc(old, size) else { preconditionFailure("out of memory") }
        return memory
    }

    /// All names of an open directory, sorted.
    ///
    /// Throws `overflow` for a directory with more than 4 GB of names.
    package init(of directory: Int32, with reader: inout DirectoryReader) throws(Errno) {
        self.init()
        try read(directory, with: &reader)
    }

    /// Replaces the list by the names of an open directory, sorted; memory of the list before is used again.
    package mutating func read(_ directory: Int32, with reader: inout DirectoryReader) throws(Errno) {
        removeAll()
        reader.start(directory)
        while let name = try reader.next() { try append(name.bytes, kind: name.kind) }
        sort()
    }

    /// Empties the list. What a very large directory needed is given back.
    package mutating func removeAll() {
        used = 0
        if room > 1 << 20 {
            room = NameList.smallestRoom
            storage = NameList.memory(storage, room)
            offsets = []
        } else {
            offsets.removeAll(keepingCapacity: true)
        }
    }

    /// Adds a name; call `sort` after the last.
    package mutating func append(_ name: UnsafeRawBufferPointer, kind: FileKind?) throws(Errno) {
        let needed = used + name.count + 2
        if needed > Int(UInt32.max) { throw .overflow }
        if needed > room {
            room = max(needed, room + max(room / 4, NameList.smallestRoom))
            storage = NameList.memory(storage, room)
        }
        offsets.append(UInt32(used))
        storage.storeBytes(of: kind?.rawValue ?? 0, toByteOffset: used, as: UInt8.self)
        if let bytes = name.baseAddress { (storage + used + 1).copyMemory(from: bytes, byteCount: name.count) }
        storage.storeBytes(of: 0, toByteOffset: needed - 1, as: UInt8.self)
        used = needed
    }

    /// Sorts by bytes, the shorter of two names first when it begins the longer.
    package mutating func sort() {
        let base = UnsafeRawPointer(storage)
        offsets.withUnsafeMutableBufferPointer { places in
            places.sort { hf_name_order(base + Int($0) + 1, base + Int($1) + 1) < 0 }
        }
    }

    package var count: Int { offsets.count }

    /// Bytes of memory that the list holds.
    package var memory: Int { room + offsets.capacity * 4 }

    /// A name, valid until the list changes. A terminator stands in memory right behind it.
    package func name(_ index: Int) -> UnsafeRawBufferPointer {
        let start = Int(offsets[index]) + 1
        let pointer = UnsafeRawPointer(storage) + start
        return UnsafeRawBufferPointer(start: pointer, count: hf_name_length(pointer, used - start))
    }

    /// A name for system calls, valid until the list changes.
    package func pointer(_ index: Int) -> UnsafePointer<CChar> {
        let start = Int(offsets[index]) + 1
        return UnsafePointer((storage + start).assumingMemoryBound(to: CChar.self))
    }

    /// What the name stood for when the directory was listed, where the file system said so.
    package func kind(_ index: Int) -> FileKind? {
        FileKind(rawValue: storage.load(fromByteOffset: Int(offsets[index]), as: UInt8.self))
    }

    /// Sets what a name stands for, once it is known.
    package mutating func setKind(_ index: Int, _ kind: FileKind) {
        storage.storeBytes(of: kind.rawValue, toByteOffset: Int(offsets[index]), as: UInt8.self)
    }

    /// Where a name stands in the sorted list, or `nil`.
    package func index(of name: UnsafeRawBufferPointer) -> Int? {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            let order = compareBytes(self.name(middle), name)
            if order == 0 { return middle }
            if order < 0 { low = middle + 1 } else { high = middle }
        }
        return nil
    }
}

/// Below, equal to or above zero as `a` sorts before, with or after `b` by bytes.
@inline(__always)
func compareBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
    let common = min(a.count, b.count)
    if common > 0 {
        let order = hf_memory_order(a.baseAddress.unsafelyUnwrapped, b.baseAddress.unsafelyUnwrapped, common)
        if order != 0 { return Int(order) }
    }
    return a.count - b.count
}

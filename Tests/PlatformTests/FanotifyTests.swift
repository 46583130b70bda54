import Foundation
import Platform
import TestSupport
import Testing

/// Encodes events as the kernel does.
private struct EventWriter {
    var bytes: [UInt8] = []

    static func handle(_ data: [UInt8], type: Int32 = 1) -> [UInt8] {
        little(UInt32(data.count)) + little(UInt32(bitPattern: type)) + data
    }

    static func record(_ type: UInt8, _ handle: [UInt8], name: [UInt8]? = nil) -> [UInt8] {
        var body = little(UInt64(0x1122)) + handle
        if let name { body += name + [0] }
        while (body.count + 4) % 4 != 0 { body.append(0) }
        return [type, 0] + little(UInt16(body.count + 4)) + body
    }

    mutating func add(_ mask: FanotifyMask, _ records: [[UInt8]]) {
        let body = records.flatMap { $0 }
        bytes += EventWriter.little(UInt32(24 + body.count)) + [3, 0] + EventWriter.little(UInt16(24))
        bytes +=
            EventWriter.little(mask.rawValue) + EventWriter.little(UInt32.max) + EventWriter.little(UInt32(77)) + body
    }

    static func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian, Array.init)
    }
}

/// All that the reader finds, with every byte of it touched.
private func readAll(_ bytes: [UInt8]) -> (events: [(mask: FanotifyMask, names: [[UInt8]])], isDamaged: Bool) {
    // Exactly as long as the bytes, so that a reader that goes too far is caught by the address sanitizer.
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { memory.deallocate() }
    memory.copyBytes(from: bytes)
    var reader = FanotifyEvents(UnsafeRawBufferPointer(memory))
    var found: [(FanotifyMask, [[UInt8]])] = []
    while let event = reader.next() {
        var names: [[UInt8]] = []
        for place in [event.place, event.from, event.to].compactMap({ $0 }) {
            names.append(Array(place.name))
            #expect(place.directory.bytes.count >= 8 && place.directory.bytes.count <= 136)
            names.append(Array(place.directory.bytes))
        }
        if let object = event.object { names.append(Array(object.bytes)) }
        found.append((event.mask, names))
    }
    return (found, reader.isDamaged)
}

private func sample() -> [UInt8] {
    var writer = EventWriter()
    let handle = EventWriter.handle([1, 2, 3, 4, 5, 6, 7, 8])
    writer.add(
        [.created, .modified], [EventWriter.record(2, handle, name: Array("name".utf8)), EventWriter.record(1, handle)])
    writer.add(
        [.renamed, .directory],
        [
            EventWriter.record(10, handle, name: Array("old".utf8)),
            EventWriter.record(12, handle, name: Array("new".utf8)),
            EventWriter.record(1, handle),
        ])
    writer.add([.attributes, .directory], [EventWriter.record(3, handle)])
    writer.add(.overflow, [])
    return writer.bytes
}

@Suite("Events of fanotify")
struct FanotifyTests {
    @Test("events are read as the kernel writes them, kinds of records that are not known are passed over")
    func reading() {
        let (events, isDamaged) = readAll(sample())
        #expect(!isDamaged)
        #expect(
            events.map(\.mask) == [
                [.created, .modified], [.renamed, .directory], [.attributes, .directory], .overflow,
            ])
        #expect(events[0].names.first == Array("name".utf8))
        #expect(events[1].names.contains(Array("old".utf8)) && events[1].names.contains(Array("new".utf8)))
        #expect(events[2].names.first == [])
        var writer = EventWriter()
        writer.add(.modified, [[99, 0, 6, 0, 1, 2], EventWriter.record(2, EventWriter.handle([9]), name: [0xFF])])
        #expect(readAll(writer.bytes).events.first?.names.first == [0xFF])
    }

    @Test("a record that makes no sense ends the reading and is told")
    func damage() {
        for cut in 1..<sample().count {
            let (events, isDamaged) = readAll(Array(sample()[..<cut]))
            #expect(isDamaged || events.count < 4)
        }
        var writer = EventWriter()
        writer.add(.modified, [EventWriter.record(2, EventWriter.handle([1]), name: Array("a/b".utf8))])
        #expect(readAll(writer.bytes).isDamaged)
        #expect(!readAll([]).isDamaged)
    }

    @Test("no bytes whatsoever make the reader go beyond them")
    func fuzz() {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = FuzzGenerator(seed: seed)
        for round in 0..<20_000 {
            let bytes =
                round % 4 == 0 ? random.bytes(Int.random(in: 0...200, using: &random)) : random.mutation(of: sample())
            let (events, _) = readAll(bytes)
            #expect(events.count <= bytes.count / 24 + 1)
        }
    }

    @Test(
        "a group reports what happens on a file system, and handles lead back to paths",
        .enabled(if: geteuid() == 0 && (try? FanotifyGroup()) != nil, "fanotify needs CAP_SYS_ADMIN"),
        arguments: [true, false])
    func kernel(pairsRenames: Bool) throws {
        guard let disk = LoopFileSystem.make(.ext4) else { return }
        let group = try FanotifyGroup(pairsRenames: pairsRenames)
        #expect(pairsRenames || !group.pairsRenames)
        let top = try FileDescriptor.open(Array(disk.path.utf8), [.readOnly, .directory])
        var mask: FanotifyMask = [.created, .modified, .closedAfterWriting, .directory]
        mask.formUnion(group.pairsRenames ? .renamed : [.movedFrom, .movedTo])
        try group.watchFileSystem(of: top.raw, mask)
        try FileSystem.makeDirectory(at: top.raw, "d")
        try FileDescriptor.open(at: top.raw, Array("d/f".utf8), [.writeOnly, .create]).writeAll([1])
        try FileSystem.rename(at: top.raw, "d", to: top.raw, "e")
        let ready = try Poll.wait(for: [(group.raw, .readable)], milliseconds: 1000)
        #expect(ready == [true])
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
        defer { buffer.deallocate() }
        let count = try group.read(into: buffer)
        var events = FanotifyEvents(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        var names: [String] = []
        while let event = events.next() {
            if let place = event.place {
                let name = String(decoding: place.name, as: UTF8.self)
                names.append(name)
                let directory = try FileHandle.open(place.directory.bytes, mount: top.raw)
                let expected = name == "f" ? disk.path + "/e" : disk.path
                #expect(try directory.currentPath() == Array(expected.replacingOccurrences(of: "//", with: "/").utf8))
            }
            if let from = event.from, let to = event.to {
                names.append(
                    String(decoding: from.name, as: UTF8.self) + ">" + String(decoding: to.name, as: UTF8.self))
            }
        }
        #expect(!events.isDamaged)
        // Events about the same name are joined as the kernel sees fit.
        #expect(Set(names) == (group.pairsRenames ? ["d", "f", "d>e"] : ["d", "f", "e"]))
        #expect(try group.read(into: buffer) == 0)
    }

    @Test("the queue's limit is known, and asking for less than it is changes nothing")
    func limit() throws {
        guard let limit = FanotifyQueue.limit else { return }
        #expect(limit > 0)
        try FanotifyQueue.raiseLimit(to: limit)
        #expect(FanotifyQueue.limit == limit)
    }

    @Test("the end of a wait can be asked for from another thread")
    func waking() throws {
        let wake = try WakeUp()
        #expect(try Poll.wait(for: [(wake.raw, .readable)], milliseconds: 0) == [false])
        let thread = try WorkerThread(name: "waker") { wake.signal() }
        #expect(try Poll.wait(for: [(wake.raw, .readable)], milliseconds: nil) == [true])
        thread.join()
        wake.reset()
        #expect(try Poll.wait(for: [(wake.raw, .readable)], milliseconds: 0) == [false])
    }
}

@Suite("Table of mounts")
struct MountTableTests {
    @Test("lines are read with their escapes undone, what makes no sense is left out")
    func parsing() throws {
        let text = """
            29 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro
            30 29 0:26 /@home /ho\\040me ro,noatime shared:2 master:3 - btrfs /dev/sdb rw,subvolid=256,subvol=/@home
            31 29 0:50 / /merged rw - overlay overlay rw,lowerdir=/l,upperdir=/u\\054\\040x,workdir=/w
            nonsense
            32 29 x:1 / /a rw - ext4 a b
            33 29 8:1 / relative rw - ext4 a b
            """
        let table = MountTable(parsing: Array(text.utf8))
        #expect(table.entries.map(\.id) == [29, 30, 31])
        #expect(table.entries[0].device == 8 << 32 | 2)
        #expect(table.entries[1].mountPoint == Array("/ho me".utf8))
        #expect(table.entries[1].root == Array("/@home".utf8))
        #expect(table.entries[1].isReadOnly && !table.entries[0].isReadOnly)
        #expect(table.entries[2].option("upperdir") == Array("/u, x".utf8))
        #expect(table.entries[2].option("upper") == nil)
    }

    @Test("the table of this machine has a root, and no bytes whatsoever end the process")
    func fuzz() throws {
        #expect(try MountTable.current().entries.contains { $0.mountPoint == [UInt8(ascii: "/")] })
        let text = try FileDescriptor.open(Array("/proc/self/mountinfo".utf8), .readOnly).readAll(limit: 1 << 20)
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = FuzzGenerator(seed: seed)
        for _ in 0..<2000 {
            for entry in MountTable(parsing: random.mutation(of: text)).entries { _ = entry.option("upperdir") }
        }
    }
}

import Glibc
import Model
import Platform
import TestSupport
import Testing

@testable import Vault

@Suite struct DirectoryStoreTests {
    @Test("a missing directory is not found, and the message asks for the drive")
    func missing() throws {
        let error = try #require(throws: HoldfastError.self) { try DirectoryStore(path: "/nonexistent/vault") }
        #expect(error.code == .notFound)
        #expect(error.message.contains("mounted"))
    }

    @Test("objects lie where the format says, readable by their owner alone")
    func layout() throws {
        let scratch = try ScratchDirectory()
        let store = try DirectoryStore(path: scratch.path)
        let name = PackName(Bytes32(w0: 0xAB12 << 48, w1: 2, w2: 3, w3: 4))
        try store.put(StoreKey.pack(name), [1, 2, 3])
        #expect(scratch.files().contains("packs/ab/\(name.hex)"))
        #expect(StoreKey.packName(of: StoreKey.pack(name)) == name)
        let status = try FileSystem.status(Array("\(scratch.path)/packs/ab/\(name.hex)".utf8))
        #expect(status.mode == 0o600)
    }

    @Test("only exact keys of packs are taken for packs")
    func packKeys() {
        let digits = String(repeating: "ab", count: 32)
        #expect(StoreKey.packName(of: "packs/ab/\(digits)") != nil)
        for key in [
            "packs/ac/\(digits)", "packs/ab/\(digits.uppercased())", "packs/AB/\(digits)", "packs/\(digits)",
            "packs/ab/\(digits)/x", "packs/ab/\(digits.dropLast())", "packs/ab/\(digits)0", "x/ab/\(digits)", "",
            "packs/ab/\(digits.dropLast(2))zz", "keys/1.json",
        ] { #expect(StoreKey.packName(of: key) == nil, "\(key)") }
    }

    @Test("a store that is closed leaves no temporary folder")
    func cleanExit() throws {
        let scratch = try ScratchDirectory()
        do {
            let store = try DirectoryStore(path: scratch.path)
            try store.put("a/b", [1])
            #expect(scratch.files().contains { $0.hasPrefix("tmp/") })
        }
        #expect(scratch.files() == ["a/b"])
    }

    @Test("what a killed writer left is removed when the vault is opened, what a live one writes is not")
    func leftovers() throws {
        let scratch = try ScratchDirectory()
        let live = try DirectoryStore(path: scratch.path)
        try live.put("a/1", [1])
        let folder = try #require(scratch.files().first { $0.hasPrefix("tmp/") }?.split(separator: "/")[1])
        try write("\(scratch.path)/tmp/\(folder)/77", 100)
        // A writer that was killed: its lock file is there, the lock is not.
        mkdir("\(scratch.path)/tmp/dead", 0o700)
        try write("\(scratch.path)/tmp/dead/lock", 0)
        try write("\(scratch.path)/tmp/dead/12", 100)
        // One that was killed before it made its lock file, a moment ago and long ago, cannot be told from a live one
        // that has just begun.
        mkdir("\(scratch.path)/tmp/young", 0o700)

        _ = try DirectoryStore(path: scratch.path)
        #expect(scratch.files() == ["a/1", "tmp/\(folder)/77", "tmp/\(folder)/lock"])
        #expect(access("\(scratch.path)/tmp/young", F_OK) == 0)
        #expect(access("\(scratch.path)/tmp/dead", F_OK) != 0)
        try live.put("a/2", [2])
        #expect(try live.get("a/2", atMost: 1) == [2])
    }

    @Test("a writer whose temporary folder was removed by hand makes a new one")
    func folderRemoved() throws {
        let scratch = try ScratchDirectory()
        let store = try DirectoryStore(path: scratch.path)
        try store.put("a/1", [1])
        let folder = try #require(scratch.files().first { $0.hasPrefix("tmp/") }?.split(separator: "/")[1])
        unlink("\(scratch.path)/tmp/\(folder)/lock")
        rmdir("\(scratch.path)/tmp/\(folder)")
        rmdir("\(scratch.path)/tmp")
        try store.put("a/2", [2])
        // And the directories of objects, too.
        unlink("\(scratch.path)/a/1")
        unlink("\(scratch.path)/a/2")
        rmdir("\(scratch.path)/a")
        #expect(try store.put("a/3", [3]))
        #expect(try store.get("a/3", atMost: 1) == [3])
    }

    @Test("the reserve takes room, is given back, and is not taken from a disk that is nearly full")
    func reserve() throws {
        let scratch = try ScratchDirectory()
        let store = try DirectoryStore(path: scratch.path)
        let space = try #require(try store.space())
        let size = DirectoryStore.reserveSize(total: space.total)
        #expect(DirectoryStore.reserveSize(total: 1 << 40) == 256 << 20)
        #expect(DirectoryStore.reserveSize(total: 1000 << 20) == 10 << 20)
        guard space.available >= 4 * size else { return }
        #expect(try store.createReserve())
        #expect(try store.createReserve())
        let status = try FileSystem.status(Array("\(scratch.path)/reserve".utf8))
        #expect(status.size == size)
        #expect(status.blocks * 512 >= size)
        #expect(try store.releaseReserve())
        #expect(try store.releaseReserve() == false)
        #expect(try store.head(StoreKey.reserve) == nil)
    }

    @Test("a full disk is reported as such, leaves nothing half written, and deletion and reading go on")
    func diskFull() throws {
        // A file system of 8 MiB; where none can be mounted there is nothing to test.
        let scratch = try ScratchDirectory()
        guard mount("none", scratch.path, "tmpfs", 0, "size=8m") == 0 else { return }
        defer { umount2(scratch.path, Int32(MNT_DETACH)) }
        let store = try DirectoryStore(path: scratch.path)
        #expect(try store.createReserve())
        let megabyte = [UInt8](repeating: 1, count: 1 << 20)
        var stored = 0
        let error = try #require(throws: HoldfastError.self) {
            for index in 0..<20 {
                try store.put("packs/ab/\(index)", megabyte)
                stored += 1
            }
        }
        #expect(error.code == .noSpace)
        #expect(error.message.contains("reclaim"))
        #expect(stored >= 6 && stored <= 8)
        var listed = 0
        try store.list("packs/") { object in
            #expect(object.size == 1 << 20)
            listed += 1
            return true
        }
        #expect(listed == stored)
        #expect(scratch.files().filter { $0.hasPrefix("tmp/") && !$0.hasSuffix("/lock") } == [])
        #expect(try store.createReserve() == true)  // it is still there
        let before = try #require(try store.space()?.available)
        #expect(try store.releaseReserve())
        #expect(try #require(try store.space()?.available) > before)
        try store.put("small", [1, 2, 3])
        try store.delete("packs/ab/0")
        try store.put("packs/ab/x", megabyte)
    }

    @Test("objects that are directories or links are not objects")
    func strangers() throws {
        let scratch = try ScratchDirectory()
        let store = try DirectoryStore(path: scratch.path)
        try store.put("packs/ab/1", [1])
        symlink("/etc/passwd", "\(scratch.path)/packs/ab/link")
        mkfifo("\(scratch.path)/packs/ab/fifo", 0o600)
        try write("\(scratch.path)/packs/ab/.hidden", 3)
        var keys: [String] = []
        try store.list("") { object in
            keys.append(object.key)
            return true
        }
        #expect(keys == ["packs/ab/1"])
        #expect(throws: HoldfastError.self) { try store.get("packs/ab/link", atMost: 100_000) }
        #expect(try store.head("packs/ab/link") == nil)
    }

    @Test("a directory that may not be written is denied, in words")
    func denied() throws {
        // Root may write everywhere, except where the file system is read-only.
        let scratch = try ScratchDirectory()
        guard mount("none", scratch.path, "tmpfs", UInt(MS_RDONLY), "size=1m") == 0 else { return }
        defer { umount2(scratch.path, Int32(MNT_DETACH)) }
        let store = try DirectoryStore(path: scratch.path)
        let error = try #require(throws: HoldfastError.self) { try store.put("a", [1]) }
        #expect(error.code == .denied)
        #expect(error.message.contains("read-only"))
    }

    private func write(_ path: String, _ count: Int) throws {
        let file = try #require(fopen(path, "w"))
        for _ in 0..<count { fputc(65, file) }
        fclose(file)
    }
}

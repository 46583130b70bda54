import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing

@testable import Capture

/// One thing that programs do to files, and the paths it makes dirty.
private struct Operation: Sendable {
    let name: String
    /// Made before the watch looks.
    var before: @Sendable (String) -> Void = { _ in }
    let run: @Sendable (String) -> Void
    let dirty: [String]
    var unless: Set<WatchFixture.Kind> = []
}

private func withFile(_ path: String, _ flags: Int32 = O_RDWR, _ body: (Int32) -> Void) {
    let file = open(path, flags | O_CLOEXEC, 0o644)
    body(file)
    close(file)
}

private func withDescriptor(_ path: String, _ body: (borrowing FileDescriptor) -> Void) {
    guard let file = try? FileDescriptor.open(Array(path.utf8), .readWrite) else { return }
    body(file)
}

private let operations: [Operation] = [
    Operation(name: "create", run: { put("\($0)/a") }, dirty: ["a"]),
    Operation(name: "create empty", run: { withFile("\($0)/a", O_CREAT | O_WRONLY) { _ in } }, dirty: ["a"]),
    Operation(name: "truncate by name", before: { put("\($0)/a") }, run: { truncate("\($0)/a", 2) }, dirty: ["a"]),
    Operation(
        name: "truncate", before: { put("\($0)/a") }, run: { withFile("\($0)/a") { _ = ftruncate($0, 1) } },
        dirty: ["a"]),
    Operation(
        name: "punch a hole", before: { put("\($0)/a", String(repeating: "x", count: 9000)) },
        run: { withDescriptor("\($0)/a") { _ = try? $0.punchHole(offset: 0, length: 4096) } }, dirty: ["a"]),
    Operation(
        name: "copy_file_range",
        before: {
            put("\($0)/a"); put("\($0)/b")
        },
        run: { root in
            withDescriptor("\(root)/a") { from in
                withDescriptor("\(root)/b") { to in _ = try? to.copyRange(from: from, offset: 0, to: 0, length: 7) }
            }
        }, dirty: ["b"]),
    Operation(
        name: "sendfile",
        before: {
            put("\($0)/a"); put("\($0)/b")
        },
        run: { root in withFile("\(root)/a") { from in withFile("\(root)/b") { _ = sendfile($0, from, nil, 7) } } },
        dirty: ["b"]),
    Operation(
        name: "clone",
        before: {
            put("\($0)/a"); put("\($0)/b")
        },
        run: { root in
            withDescriptor("\(root)/a") { from in withDescriptor("\(root)/b") { to in _ = try? to.clone(from: from) } }
        },
        dirty: ["b"], unless: [.ext4, .overlay]),
    Operation(name: "chmod", before: { put("\($0)/a") }, run: { chmod("\($0)/a", 0o600) }, dirty: ["a"]),
    Operation(
        name: "chmod of a directory", before: { mkdir("\($0)/d", 0o755) }, run: { chmod("\($0)/d", 0o700) },
        dirty: ["d"]),
    Operation(
        name: "an attribute", before: { put("\($0)/a") },
        run: { Tool.run(["setfattr", "-n", "user.x", "-v", "1", "\($0)/a"]) }, dirty: ["a"]),
    Operation(name: "times", before: { put("\($0)/a") }, run: { utimes("\($0)/a", nil) }, dirty: ["a"]),
    Operation(name: "hard link", before: { put("\($0)/a") }, run: { link("\($0)/a", "\($0)/b") }, dirty: ["b"]),
    Operation(name: "symbolic link", run: { symlink("/x", "\($0)/s") }, dirty: ["s"]),
    Operation(name: "pipe", run: { mkfifo("\($0)/p", 0o600) }, dirty: ["p"]),
    Operation(
        name: "directories and a file at once",
        run: {
            mkdir("\($0)/d", 0o755); mkdir("\($0)/d/e", 0o755); put("\($0)/d/e/f")
        }, dirty: ["d", "d/e", "d/e/f"]),
    Operation(name: "unlink", before: { put("\($0)/a") }, run: { unlink("\($0)/a") }, dirty: ["a"]),
    Operation(name: "rmdir", before: { mkdir("\($0)/d", 0o755) }, run: { rmdir("\($0)/d") }, dirty: ["d"]),
    Operation(
        name: "remove a tree",
        before: {
            mkdir("\($0)/d", 0o755); put("\($0)/d/a"); put("\($0)/d/b")
        },
        run: { Tool.run(["rm", "-r", "\($0)/d"]) }, dirty: ["d", "d/a", "d/b"]),
    Operation(name: "rename", before: { put("\($0)/a") }, run: { rename("\($0)/a", "\($0)/b") }, dirty: ["a", "b"]),
    Operation(
        name: "rename over",
        before: {
            put("\($0)/a"); put("\($0)/b", "old")
        }, run: { rename("\($0)/a", "\($0)/b") },
        dirty: ["a", "b"]),
    Operation(
        name: "rename a directory",
        before: {
            mkdir("\($0)/d", 0o755); put("\($0)/d/a")
        },
        run: { rename("\($0)/d", "\($0)/e") }, dirty: ["d", "d/a", "e", "e/a"], unless: [.overlay]),
    Operation(
        name: "rename a directory and write in it",
        before: {
            mkdir("\($0)/d", 0o755); mkdir("\($0)/d/x", 0o755)
        },
        run: {
            put("\($0)/d/x/a"); rename("\($0)/d", "\($0)/e"); put("\($0)/e/x/b")
        },
        dirty: ["d", "e", "e/x/a", "e/x/b"]),
    Operation(
        name: "exchange",
        before: {
            put("\($0)/a", "1"); put("\($0)/b", "2")
        },
        run: { root in
            try? withCName(Array("\(root)/a".utf8)) { a throws(Errno) in
                try withCName(Array("\(root)/b".utf8)) { b throws(Errno) in
                    try FileSystem.rename(
                        at: FileSystem.currentDirectory, a, to: FileSystem.currentDirectory, b, .exchange)
                }
            }
        }, dirty: ["a", "b"], unless: [.overlay]),
    Operation(
        name: "move in", before: { put("\($0)/../../outside/a") }, run: { rename("\($0)/../../outside/a", "\($0)/a") },
        dirty: ["a"]),
    Operation(
        name: "move a tree in",
        before: {
            mkdir("\($0)/../../outside/d", 0o755); mkdir("\($0)/../../outside/d/e", 0o755);
            put("\($0)/../../outside/d/e/f")
        },
        run: { rename("\($0)/../../outside/d", "\($0)/d") }, dirty: ["d", "d/e/f"]),
    Operation(
        name: "move out",
        before: {
            mkdir("\($0)/d", 0o755); put("\($0)/d/a")
        },
        run: { rename("\($0)/d", "\($0)/../../outside/d") }, dirty: ["d", "d/a"], unless: [.overlay]),
]

@Suite("Watching each operation", .serialized, .enabled(if: canWatch, "watching needs CAP_SYS_ADMIN and mounts"))
struct WatchOperationTests {
    @Test("every operation makes its path dirty", arguments: WatchFixture.Kind.allCases, [true, false])
    func table(_ kind: WatchFixture.Kind, pairsRenames: Bool) throws {
        guard let fixture = WatchFixture(kind) else { return }
        try fixture.start { $0.pairsRenames = pairsRenames }
        #expect(fixture.watcher?.status.map(\.mode) == [.events], "\(fixture.watcher?.status ?? [])")
        for (number, operation) in operations.enumerated() where !operation.unless.contains(kind) {
            let place = "\(fixture.root)/\(number)"
            mkdir(place, 0o755)
            operation.before(place)
            _ = fixture.facts()
            operation.run(place)
            let facts = fixture.facts()
            // Nothing may hide behind a scan.
            #expect(!facts.contains { if case .fileSystem = $0 { true } else { false } }, "\(operation.name)")
            for name in operation.dirty {
                let path = fixture.inRoot("\(number)/\(name)")
                #expect(
                    facts.contains { $0.covers(path) }, "\(operation.name) on \(kind): \(path.displayText) in \(facts)")
            }
            if operation.name == "rename" {
                let paired = DirtyFact.renamed(
                    from: fixture.inRoot("\(number)/a"), to: fixture.inRoot("\(number)/b"), isDirectory: false)
                #expect(facts.contains(paired) == pairsRenames || kind == .overlay, "\(facts)")
            }
        }
    }

    @Test("a writer who keeps the file open is seen at each write", arguments: WatchFixture.Kind.allCases)
    func openWriter(_ kind: WatchFixture.Kind) throws {
        guard let fixture = WatchFixture(kind) else { return }
        try fixture.start()
        let file = open("\(fixture.root)/log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        for _ in 0..<3 {
            _ = write(file, "line\n", 5)
            #expect(fixture.facts().contains(.file(fixture.inRoot("log"), .open)))
        }
        close(file)
        #expect(fixture.facts().contains(.file(fixture.inRoot("log"), .closed)))
    }

    @Test("reading raises nothing, and opening for writing at most a closed file")
    func reading() throws {
        guard let fixture = WatchFixture(.ext4) else { return }
        put("\(fixture.root)/a")
        try fixture.start()
        withFile("\(fixture.root)/a", O_RDONLY) { file in
            var byte: UInt8 = 0
            _ = read(file, &byte, 1)
        }
        _ = try FileManager.default.contentsOfDirectory(atPath: fixture.root)
        #expect(fixture.facts() == [])
        withFile("\(fixture.root)/a") { _ in }
        #expect(fixture.facts() == [.file(fixture.inRoot("a"), .closed)])
    }

    @Test("a file written through a mapping is seen by looking, and once more when it is unmapped")
    func mapping() throws {
        guard let fixture = WatchFixture(.ext4) else { return }
        put("\(fixture.root)/m", String(repeating: "x", count: 8192))
        try fixture.start { $0.mappingInterval = 50_000_000 }
        let file = open("\(fixture.root)/m", O_RDWR | O_CLOEXEC)
        let memory = mmap(nil, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)!
        close(file)
        let path = fixture.inRoot("m")
        #expect(fixture.recorder.waits { $0 == .file(path, .open) })
        for value in 1...3 {
            _ = fixture.recorder.take()
            memory.storeBytes(of: UInt8(value), as: UInt8.self)
            msync(memory, 8192, MS_SYNC)
            #expect(fixture.recorder.waits { $0 == .file(path, .open) }, "store \(value)")
        }
        munmap(memory, 8192)
        #expect(fixture.recorder.waits { $0 == .file(path, .closed) })
    }

    @Test("what is left out and what lies outside is not told")
    func scope() throws {
        guard let fixture = WatchFixture(.ext4) else { return }
        for name in ["spool", "spool/deep", "caches", "caches/deep"] { mkdir("\(fixture.root)/\(name)", 0o755) }
        let roots = [fixture.path(fixture.root)]
        let rules = ExclusionRules([ExclusionPattern(Array("**/caches/".utf8)), ExclusionPattern(Array("*.tmp".utf8))])
        try fixture.start {
            $0.scope = WatchScope(roots: roots, ignored: [fixture.inRoot("spool")], exclusions: rules)
        }
        for name in ["spool/a", "spool/deep/a", "caches/a", "caches/deep/a", "a.tmp", "../outside/a"] {
            put("\(fixture.root)/\(name)")
        }
        #expect(fixture.facts() == [])
        rename("\(fixture.root)/a.tmp", "\(fixture.root)/kept")
        rename("\(fixture.root)/spool/a", "\(fixture.root)/alsoKept")
        let facts = fixture.facts()
        #expect(facts.contains { $0.covers(fixture.inRoot("kept")) })
        #expect(facts.contains { $0.covers(fixture.inRoot("alsoKept")) })
        #expect(!facts.contains { $0.covers(fixture.inRoot("a.tmp")) })
    }

    @Test("what happens to a directory above a protected one makes all of that dirty, a file alone can be protected")
    func above() throws {
        guard let fixture = WatchFixture(.ext4) else { return }
        mkdir("\(fixture.root)/x", 0o755)
        mkdir("\(fixture.root)/x/y", 0o755)
        put("\(fixture.root)/single")
        let roots = [fixture.inRoot("x/y"), fixture.inRoot("single")]
        try fixture.start { $0.scope = WatchScope(roots: roots) }
        put("\(fixture.root)/single", "new")
        put("\(fixture.root)/other", "new")
        let facts = fixture.facts()
        #expect(facts.contains { $0.covers(roots[1]) })
        #expect(!facts.contains { $0.covers(fixture.inRoot("other")) })
        rename("\(fixture.root)/x", "\(fixture.root)/z")
        #expect(fixture.facts().contains(.subtree(roots[0])))
        rename("\(fixture.root)/z", "\(fixture.root)/x")
        put("\(fixture.root)/x/y/a")
        let back = fixture.facts()
        #expect(back.contains(.subtree(roots[0])))
        #expect(back.contains { $0.covers(fixture.inRoot("x/y/a")) })
    }

    @Test("a change through one name of a file makes its other names dirty, also when that name is outside or gone")
    func otherNames() throws {
        guard let fixture = WatchFixture(.ext4) else { return }
        for name in ["a", "b", "c"] {
            put("\(fixture.root)/\(name)")
            link("\(fixture.root)/\(name)", "\(fixture.root)/\(name)2")
        }
        link("\(fixture.root)/c", "\(fixture.top)/outside/c3")
        var known: [UInt64: [TreePath]] = [:]
        for name in ["a", "b", "c"] {
            let inode = try FileSystem.status(Array("\(fixture.root)/\(name)".utf8)).inode
            known[inode] = [fixture.inRoot(name), fixture.inRoot("\(name)2")]
        }
        let names = known
        try fixture.start { $0.otherNames = { names[$0.inode] ?? [] } }
        withFile("\(fixture.root)/a", O_WRONLY) { _ = write($0, "x", 1) }
        withFile("\(fixture.root)/b", O_WRONLY) { _ = write($0, "x", 1) }
        unlink("\(fixture.root)/b")
        withFile("\(fixture.top)/outside/c3", O_WRONLY) { _ = write($0, "x", 1) }
        let facts = fixture.facts()
        for name in ["a", "a2", "b", "b2", "c", "c2"] {
            #expect(facts.contains { $0.covers(fixture.inRoot(name)) }, "\(name) in \(facts)")
        }
        #expect(!facts.contains { if case .fileSystem = $0 { true } else { false } })
    }

    @Test("what is saved beside and renamed has one name: nobody is asked for others")
    func savedBeside() throws {
        guard let fixture = WatchFixture(.ext4) else { return }
        let asked = Mutex(0)
        try fixture.start {
            $0.otherNames = { _ in
                asked.withLock { $0 += 1 }
                return []
            }
        }
        for number in 0..<200 {
            for place in [fixture.root, "\(fixture.top)/outside"] {
                put("\(place)/.saving", "\(number)")
                rename("\(place)/.saving", "\(place)/letter \(number % 7)")
            }
        }
        let facts = fixture.facts()
        for number in 0..<7 { #expect(facts.contains { $0.covers(fixture.inRoot("letter \(number)")) }) }
        #expect(asked.withLock { $0 } == 0)
    }

    @Test("a path too long to be told makes a directory above it dirty")
    func longPath() throws {
        guard let fixture = WatchFixture(.ext4) else { return }
        try fixture.start()
        let name = String(repeating: "n", count: 200)
        var directory = try FileDescriptor.open(Array(fixture.root.utf8), [.readOnly, .directory])
        var deep = fixture.path(fixture.root)
        for _ in 0..<30 {
            try FileSystem.makeDirectory(at: directory.raw, name)
            directory = try FileDescriptor.open(at: directory.raw, Array(name.utf8), [.readOnly, .directory])
            deep = deep.appending(name.utf8)
        }
        _ = fixture.facts()
        try FileDescriptor.open(at: directory.raw, Array("f".utf8), [.writeOnly, .create]).writeAll([1])
        let facts = fixture.facts()
        #expect(facts.contains { $0.covers(deep.appending("f".utf8)) }, "\(facts.count)")
    }

    @Test("a snapshot of btrfs comes with contents, writes through other mounts are seen")
    func subvolumes() throws {
        guard let fixture = WatchFixture(.subvolume) else { return }
        put("\(fixture.root)/a")
        try fixture.start()
        #expect(Tool.run(["btrfs", "subvolume", "create", "\(fixture.root)/nested"]).status == 0)
        put("\(fixture.root)/nested/b")
        let facts = fixture.facts()
        #expect(facts.contains { $0.covers(fixture.inRoot("nested/b")) })
        #expect(
            Tool.run(["btrfs", "subvolume", "snapshot", "\(fixture.root)/nested", "\(fixture.root)/copy"]).status == 0)
        #expect(fixture.facts().contains(.subtree(fixture.inRoot("copy"))))
        put("\(fixture.root)/copy/b", "changed")
        #expect(fixture.facts().contains { $0.covers(fixture.inRoot("copy/b")) })
        #expect(Tool.run(["btrfs", "subvolume", "delete", "\(fixture.root)/copy"]).status == 0)
        #expect(fixture.facts().contains { $0.covers(fixture.inRoot("copy/b")) })
    }

    @Test("a file written through a bind mount is dirty at both places")
    func bindMount() throws {
        guard let fixture = WatchFixture(.xfs) else { return }
        mkdir("\(fixture.top)/data", 0o755)
        mkdir("\(fixture.root)/bound", 0o755)
        #expect(Tool.run(["mount", "--bind", "\(fixture.top)/data", "\(fixture.root)/bound"]).status == 0)
        fixture.alsoUnmount("\(fixture.root)/bound")
        try fixture.start()
        put("\(fixture.top)/data/a")
        #expect(fixture.facts().contains { $0.covers(fixture.inRoot("bound/a")) })
        put("\(fixture.root)/bound/b")
        #expect(fixture.facts().contains { $0.covers(fixture.inRoot("bound/b")) })
    }

    @Test("of a file system of which only parts are mounted those are watched, and what else happens on it is no loss")
    func partsOnly() throws {
        guard let fixture = WatchFixture(.ext4), let disk = LoopFileSystem.make(.ext4) else { return }
        for name in ["first", "second"] {
            mkdir("\(disk.path)/\(name)", 0o755)
            mkdir("\(fixture.top)/\(name)", 0o755)
            #expect(Tool.run(["mount", "--bind", "\(disk.path)/\(name)", "\(fixture.top)/\(name)"]).status == 0)
            fixture.alsoUnmount("\(fixture.top)/\(name)")
        }
        #expect(Tool.run(["umount", disk.path]).status == 0)
        let root = fixture.path("\(fixture.top)/first")
        try fixture.start { $0.scope = WatchScope(roots: [root]) }
        #expect(fixture.watcher?.status.map(\.mode) == [.events])
        put("\(fixture.top)/second/a")
        put("\(fixture.top)/second/b")
        #expect(fixture.facts() == [])
        mkdir("\(fixture.top)/first/d", 0o755)
        put("\(fixture.top)/first/d/a")
        let facts = fixture.facts()
        #expect(facts.contains { $0.covers(root.appending("d".utf8)) })
        #expect(facts.contains { $0.covers(root.appending("d/a".utf8)) })
    }
}

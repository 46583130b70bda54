import Capture
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

@Suite struct UndoTests {
    private func listing(_ fixture: RestoreFixture) throws -> String {
        try RestoreFixture.shell(
            """
            cd '\(fixture.source)'; find . -printf '%p %y %m %U %G %T@ %l\\n' | sort
            find . -type f -print0 | sort -z | xargs -0 sha256sum; getfattr -R -d . | sort
            """)
    }

    /// Restores in place as the command does.
    private func restore(
        _ fixture: RestoreFixture, _ reader: PointReader, _ store: UndoStore, delete: Bool
    ) throws -> RestoreReport {
        var request = RestoreRequest(paths: [fixture.path], destination: .inPlace)
        request.deleteExtra = delete
        let job = RestoreJob(reader: reader, request: request, undo: store)
        return try job.run { paths in
            try fixture.backUp(paths.map(\.displayText)) { $0.labels = ["before restore"] }.point
        }
    }

    private func undo(_ fixture: RestoreFixture, _ store: UndoStore) throws -> RestoreReport {
        try UndoJob(store: store).run {
            try fixture.open($0)
        } protect: { paths in
            try fixture.backUp(paths.map(\.displayText)).point
        }
    }

    @Test("the last restore in place is taken back, and that in turn")
    func undo() throws {
        let fixture = try RestoreFixture()
        let state = fixture.place("state")
        try RestoreFixture.shell("mkdir '\(state)'")
        let store = UndoStore(directory: Array(state.utf8))
        #expect(try store.last() == nil)
        #expect(throws: HoldfastError.self) { _ = try UndoJob(store: store) }
        try fixture.make(
            """
            mkdir -p a/b c removed-later; printf 1 > a/b/x; printf 2 > c/y; printf 3 > removed-later/z; ln -s t link
            printf m > mode; chmod 600 mode; touch -d '2020-01-01 UTC' a/b/x a/b a
            """)
        let reader = try fixture.backup()
        let old = try listing(fixture)
        try fixture.make(
            """
            printf changed > a/b/x; rm -r removed-later; mkdir -p added/deep; printf 9 > added/deep/f; rm link; mkdir link
            chmod 644 mode; touch -d '2021-01-01 UTC' mode; rm c/y; ln -s a c/y; touch -d '2022-01-01 UTC' a/b c a
            """)
        let new = try listing(fixture)
        #expect(try restore(fixture, reader, store, delete: true).issues == [])
        #expect(try listing(fixture) == old)
        let record = try #require(try store.last())
        #expect(record.isComplete && record.before != nil)
        #expect(try undo(fixture, store).issues == [])
        #expect(try listing(fixture) == new)
        #expect(try undo(fixture, store).issues == [])
        #expect(try listing(fixture) == old)
        // Record, list and lock.
        #expect(try FileManager.default.contentsOfDirectory(atPath: state).count == 3)
    }

    @Test("directories get their ACLs, attributes and flags back, also where nothing may be changed")
    func directories() throws {
        let fixture = try RestoreFixture()
        let state = fixture.place("state")
        try RestoreFixture.shell("mkdir '\(state)'")
        let store = UndoStore(directory: Array(state.utf8))
        try fixture.make("mkdir d sealed; printf 1 > sealed/x; chmod 750 d")
        let reader = try fixture.backup()
        try fixture.make(
            """
            setfacl -m u:nobody:rwx d; setfattr -n user.k -v 'a value' d; chattr +d d || true
            printf 22 > sealed/x; printf new > sealed/new; touch -d '2022-01-01 UTC' d sealed
            \(RestoreFixture.isRoot ? "chattr +i sealed || true" : "true")
            """)
        func snapshot() throws -> String {
            try fixture.make(
                """
                getfacl -R -p . ; getfattr -R -d . | sort; lsattr -d d sealed
                find . -printf '%p %y %m %T@\\n' | sort; cat sealed/*
                """)
        }
        let new = try snapshot()
        #expect(try restore(fixture, reader, store, delete: true).issues == [])
        let old = try snapshot()
        #expect(old != new)
        #expect(try undo(fixture, store).issues == [])
        #expect(try snapshot() == new)
        #expect(try undo(fixture, store).issues == [])
        #expect(try snapshot() == old)
    }

    @Test("one restore in place at a time, from its plan to its end")
    func lock() throws {
        let fixture = try RestoreFixture()
        let state = fixture.place("state")
        try RestoreFixture.shell("mkdir '\(state)'")
        let store = UndoStore(directory: Array(state.utf8))
        try fixture.make("mkdir a b; printf 1 > a/x; printf 1 > b/x")
        let reader = try fixture.backup()
        try fixture.make("printf 22 > a/x; printf 22 > b/x")
        func job(_ name: String) -> RestoreJob {
            let request = RestoreRequest(paths: [fixture.path.appending(name.utf8)], destination: .inPlace)
            return RestoreJob(reader: reader, request: request, undo: store)
        }
        let first = job("a")
        _ = try first.plan()
        let second = job("b")
        #expect(#expect(throws: HoldfastError.self) { try second.plan() }?.code == .busy)
        _ = try first.run { try fixture.backUp($0.map(\.displayText)).point }
        let record = try #require(try store.last())
        // Its end opened the way; one that only plans leaves the record and its list alone.
        _ = try second.plan()
        #expect(#expect(throws: HoldfastError.self) { try UndoJob(store: store) }?.code == .busy)
        #expect(try store.last() == record)
        #expect(try RestoreFixture.read(fixture.source + "/b/x") == Array("22".utf8))
    }

    @Test("what was changed since is counted, and a restore that was killed before it began is noticed")
    func changedSince() throws {
        let fixture = try RestoreFixture()
        let state = fixture.place("state")
        try RestoreFixture.shell("mkdir '\(state)'")
        let store = UndoStore(directory: Array(state.utf8))
        try fixture.make("mkdir -p new/deep; printf 1 > new/deep/f; printf 1 > x; printf 1 > y")
        let reader = try fixture.backup()
        try fixture.make("rm -r new; printf 22 > x; printf 22 > y")
        _ = try restore(fixture, reader, store, delete: false)
        do {
            let job = try UndoJob(store: store)
            #expect(job.changedSince().count == 0 && !job.hasAbandoned)
        }
        // The clock of file systems is coarse.
        usleep(20_000)
        try fixture.make("printf mine > x; printf mine > new/deep/f")
        _ = try store.record()
        let job = try UndoJob(store: store)
        let changed = job.changedSince()
        #expect(Set(changed.samples.map(\.displayText)) == [fixture.source + "/x", fixture.source + "/new/deep/f"])
        #expect(changed.count == 2 && job.hasAbandoned)
    }

    @Test("a restore that changes nothing leaves the one before it to be taken back")
    func nothingToDo() throws {
        let fixture = try RestoreFixture()
        let state = fixture.place("state")
        try RestoreFixture.shell("mkdir '\(state)'")
        let store = UndoStore(directory: Array(state.utf8))
        try fixture.make("printf 1 > x")
        let reader = try fixture.backup()
        try fixture.make("printf 22 > x")
        _ = try restore(fixture, reader, store, delete: false)
        let first = try #require(try store.last())
        _ = try restore(fixture, reader, store, delete: false)
        #expect(try store.last() == first)
        _ = try undo(fixture, store)
        #expect(try RestoreFixture.read(fixture.source + "/x") == Array("22".utf8))
    }

    @Test("when the point before cannot be made nothing is changed")
    func protectFails() throws {
        let fixture = try RestoreFixture()
        let state = fixture.place("state")
        try RestoreFixture.shell("mkdir '\(state)'")
        let store = UndoStore(directory: Array(state.utf8))
        try fixture.make("printf 1 > x")
        let reader = try fixture.backup()
        try fixture.make("printf 22 > x")
        let job = RestoreJob(
            reader: reader, request: RestoreRequest(paths: [fixture.path], destination: .inPlace), undo: store)
        #expect(throws: HoldfastError.self) {
            _ = try job.run { _ in throw HoldfastError(.noSpace, "the vault is full") }
        }
        #expect(try RestoreFixture.read(fixture.source + "/x") == Array("22".utf8))
        #expect(try store.last() == nil)
    }

    @Test("many paths are protected by the directories that hold them")
    func manyPaths() {
        var list = ProtectionList()
        for index in 0..<20_000 { list.add(Array("top/d\(index % 50)/e\(index % 200)/f\(index)".utf8)) }
        list.add(Array("top/d1".utf8))
        let planned = PlannedPaths((0..<20).map { TreePath("top/d\($0)/f")! })
        #expect(planned.touches(TreePath("top")!) && planned.touches(TreePath("top/d3")!))
        #expect(planned.touches(TreePath("top/d3/f")!) && planned.touches(TreePath("top/d3/f/below")!))
        #expect(!planned.touches(TreePath("top/d3/g")!) && !planned.touches(TreePath("top/d30")!))
        let all = list.all
        #expect(all.count <= ProtectionList.limit)
        for index in 0..<20_000 {
            let path = TreePath("top/d\(index % 50)/e\(index % 200)/f\(index)")!
            #expect(all.contains { $0.contains(path) })
        }
    }
}

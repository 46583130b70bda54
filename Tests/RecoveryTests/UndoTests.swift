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
        #expect(try FileManager.default.contentsOfDirectory(atPath: state).count == 2)
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
        let all = list.all
        #expect(all.count <= ProtectionList.limit)
        for index in 0..<20_000 {
            let path = TreePath("top/d\(index % 50)/e\(index % 200)/f\(index)")!
            #expect(all.contains { $0.contains(path) })
        }
    }
}

import Capture
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

/// What a restore never removes, however it is named and whatever the point says.
@Suite struct SparedPlacesTests {
    private static let vault = "mkdir -p V/packs V/keys; printf '{}' > V/config.json; printf p > V/packs/p"

    /// The protected directory with something in it and an empty place for the vault, as a backup into it leaves it.
    private func backup(_ fixture: RestoreFixture) throws -> PointReader {
        try fixture.make("mkdir -p V; printf 1 > x")
        let status = try FileSystem.status(Array((fixture.source + "/V").utf8))
        return try fixture.backup {
            $0.source.ownDirectories = [.init(device: status.device, inode: status.inode)]
        }
    }

    @Test("the vault stays under --delete when it was named through a link, and the plan does not list it")
    func namedThroughLink() throws {
        let fixture = try RestoreFixture()
        let reader = try backup(fixture)
        // Nothing in it says that it is a vault: it is known by what it is.
        try fixture.make("mkdir V/inner; printf p > V/inner/p; printf e > extra")
        let link = fixture.place("link")
        try RestoreFixture.shell("ln -s '\(fixture.source)/V' '\(link)'")
        var request = RestoreRequest(paths: [fixture.path], destination: .inPlace)
        request.deleteExtra = true
        request.own = try OwnPlaces([Array(link.utf8), Array((fixture.base + "/not-there").utf8)])
        let plan = try RestorePlanner(reader: reader, request: request).run()
        #expect(plan.removes.samples.map { TreePath.display($0) } == [String(fixture.source.dropFirst()) + "/extra"])
        let report = try Restorer(reader: reader, request: request).run()
        #expect(report.issues == [])
        #expect(report.removed == 1)
        #expect(try RestoreFixture.read(fixture.source + "/V/inner/p") == Array("p".utf8))
    }

    @Test("what the point has below the vault's place is not written into it, which is said")
    func contentsBelow() throws {
        let fixture = try RestoreFixture()
        try fixture.make("mkdir V; printf old > V/old; printf 1 > x")
        let reader = try fixture.backup()
        try fixture.make("rm V/old; printf p > V/p")
        let report = try fixture.restoreInPlace(reader) {
            $0.deleteExtra = true
            $0.own = try! OwnPlaces([Array((fixture.source + "/V").utf8)])
        }
        #expect(report.issues.map(\.kind) == [.conflict])
        #expect(try RestoreFixture.shell("ls '\(fixture.source)/V'") == "p\n")
    }

    @Test("any directory that is a vault is neither removed nor emptied, at any depth")
    func anyVault() throws {
        let fixture = try RestoreFixture()
        try fixture.make(
            "printf 1 > x; mkdir kept; \(SparedPlacesTests.vault.replacingOccurrences(of: "V", with: "kept"))")
        let reader = try fixture.backup()
        try fixture.make(
            """
            mkdir -p new/deep; cd new/deep; \(SparedPlacesTests.vault); printf 2 > beside; cd ../..; printf q > kept/packs/q
            \(SparedPlacesTests.vault)
            """)
        let report = try fixture.restoreInPlace(reader) { $0.deleteExtra = true }
        #expect(Set(report.issues.map(\.kind)) == [.conflict])
        #expect(report.exitStatus == 3)
        for path in ["new/deep/V/packs/p", "V/packs/p", "V/config.json"] {
            #expect(RestoreFixture.exists(fixture.source + "/" + path), "\(path)")
        }
        #expect(!RestoreFixture.exists(fixture.source + "/new/deep/beside"))
    }

    @Test("a vault does not give way to a file")
    func fileInItsPlace() throws {
        let fixture = try RestoreFixture()
        try fixture.make("printf file > V")
        let reader = try fixture.backup()
        try fixture.make("rm V; \(SparedPlacesTests.vault)")
        let report = try fixture.restoreInPlace(reader) { $0.deleteExtra = true }
        #expect(report.issues.map(\.kind) == [.conflict])
        #expect(RestoreFixture.exists(fixture.source + "/V/packs/p"))
    }

    @Test("a restore into a vault or the state directory is refused before anything is made")
    func intoVault() throws {
        let fixture = try RestoreFixture()
        try fixture.make("printf 1 > x")
        let reader = try fixture.backup()
        let place = fixture.place("disk")
        try RestoreFixture.shell("mkdir -p '\(place)/state'; cd '\(place)'; \(SparedPlacesTests.vault)")
        let own = try OwnPlaces([Array((place + "/state").utf8)])
        for target in ["V", "V/packs", "V/packs/new/er", "state", "state/new"] {
            let error = #expect(throws: HoldfastError.self) {
                try fixture.restore(reader, to: place + "/" + target) { $0.own = own }
            }
            #expect(error?.code == .usage, "\(target)")
        }
        #expect(
            try RestoreFixture.shell("cd '\(place)'; find . | sort | tr '\\n' ' '")
                == ". ./V ./V/config.json ./V/keys ./V/packs ./V/packs/p ./state ")
        #expect(try fixture.restore(reader, to: place + "/out") { $0.own = own }.issues == [])
    }

    @Test("taking a restore back spares a vault that was put into what it made")
    func undo() throws {
        let fixture = try RestoreFixture()
        let state = fixture.place("state")
        try RestoreFixture.shell("mkdir '\(state)'")
        let store = UndoStore(directory: Array(state.utf8))
        try fixture.make("mkdir und; printf 1 > und/x")
        let reader = try fixture.backup()
        try fixture.make("rm -r und")
        _ = try RestoreJob(
            reader: reader, request: RestoreRequest(paths: [fixture.path], destination: .inPlace), undo: store
        ).run { _ in throw HoldfastError(.internalError, "nothing is replaced") }
        try fixture.make("mkdir und/mine; printf p > und/mine/p; cd und; \(SparedPlacesTests.vault)")
        let job = try UndoJob(store: store, own: try OwnPlaces([Array((fixture.source + "/und/mine").utf8)]))
        let report = try job.run {
            try fixture.open($0)
        } protect: { paths in
            try fixture.backUp(paths.map(\.displayText)).point
        }
        #expect(report.issues.map(\.kind) == [.conflict, .conflict])
        #expect(!RestoreFixture.exists(fixture.source + "/und/x"))
        #expect(RestoreFixture.exists(fixture.source + "/und/mine/p"))
        #expect(RestoreFixture.exists(fixture.source + "/und/V/packs/p"))
    }

    @Test("what is mounted below what is made exact stays", .enabled(if: geteuid() == 0))
    func mounts() throws {
        let fixture = try RestoreFixture()
        try fixture.make("printf 1 > x")
        let reader = try fixture.backup()
        try fixture.make("mkdir disk; mount -t tmpfs none disk; printf p > disk/p")
        defer { _ = try? fixture.make("umount -l disk") }
        let report = try fixture.restoreInPlace(reader) { $0.deleteExtra = true }
        #expect(report.issues.map(\.kind) == [.conflict])
        #expect(RestoreFixture.exists(fixture.source + "/disk/p"))
    }
}

import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

@Suite struct ConflictTests {
    /// A point with `f` = "point" of 2020, and a destination in which `f` is something else.
    private func prepare(
        _ there: String, in fixture: RestoreFixture
    ) throws -> (reader: PointReader, target: String, directory: String) {
        try fixture.make("printf point > f; touch -d '2020-01-01 UTC' f; mkdir d; printf inner > d/inner")
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let directory = target + fixture.source
        try RestoreFixture.shell("mkdir -p '\(directory)'; cd '\(directory)'; \(there)")
        return (reader, target, directory)
    }

    private static let older = "printf other > f; touch -d '2010-01-01 UTC' f"
    private static let newer = "printf other > f; touch -d '2030-01-01 UTC' f"

    @Test(
        "the conflict rule decides what happens to a file that differs",
        arguments: [
            (RestoreRequest.Conflict.always, older, "point", 0), (.always, newer, "point", 0),
            (.never, older, "other", 0),
            (.newer, older, "point", 0), (.newer, newer, "other", 0), (.rename, older, "other", 1),
        ])
    func file(_ rule: RestoreRequest.Conflict, _ there: String, _ expected: String, _ beside: Int) throws {
        let fixture = try RestoreFixture()
        let (reader, target, directory) = try prepare(there, in: fixture)
        let report = try fixture.restore(reader, to: target) { $0.conflict = rule }
        #expect(report.issues == [])
        #expect(try RestoreFixture.read(directory + "/f") == Array(expected.utf8))
        let suffix = Restorer.renameSuffix(of: reader.point)
        #expect(report.renamed == UInt64(beside))
        #expect(RestoreFixture.exists(directory + "/f" + suffix) == (beside == 1))
        if beside == 1 { #expect(try RestoreFixture.read(directory + "/f" + suffix) == Array("point".utf8)) }
        #expect(try RestoreFixture.read(directory + "/d/inner") == Array("inner".utf8))
        // The same again changes nothing more.
        let again = try fixture.restore(reader, to: target) { $0.conflict = rule }
        #expect(again.filesWritten == 0)
        #expect(again.issues == [])
    }

    @Test("below a directory with contents of its own the default is to put things beside")
    func defaultRule() throws {
        let fixture = try RestoreFixture()
        let (reader, target, directory) = try prepare(ConflictTests.newer, in: fixture)
        let report = try fixture.restore(reader, to: target)
        #expect(report.renamed == 1)
        #expect(try RestoreFixture.read(directory + "/f") == Array("other".utf8))
    }

    @Test("a symbolic link where a directory was is never followed")
    func linkInTheWay() throws {
        for rule in RestoreRequest.Conflict.allCases {
            let fixture = try RestoreFixture()
            let outside = fixture.place("outside")
            let (reader, target, directory) = try prepare("mkdir '\(outside)'; ln -s '\(outside)' d", in: fixture)
            let report = try fixture.restore(reader, to: target) { $0.conflict = rule }
            #expect(try FileManager.default.contentsOfDirectory(atPath: outside) == [], "\(rule)")
            switch rule {
            case .always:
                #expect(report.issues == [])
                #expect(try RestoreFixture.read(directory + "/d/inner") == Array("inner".utf8))
            case .rename:
                let other = directory + "/d" + Restorer.renameSuffix(of: reader.point)
                #expect(try RestoreFixture.read(other + "/inner") == Array("inner".utf8))
            case .never, .newer:
                #expect(report.issues.map(\.kind) == [.conflict], "\(rule)")
                #expect(report.exitStatus == 3)
            }
        }
    }

    @Test("a symbolic link on the way to what was asked for ends that path, not the restore")
    func linkAbove() throws {
        let fixture = try RestoreFixture()
        try fixture.make("mkdir a; printf x > a/x")
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let outside = fixture.place("outside")
        let parent = (target + fixture.source as NSString).deletingLastPathComponent
        try RestoreFixture.shell("mkdir -p '\(parent)' '\(outside)'; ln -s '\(outside)' '\(target + fixture.source)'")
        let report = try fixture.restore(reader, to: target) {
            $0.conflict = .always
            $0.paths = [fixture.path.appending("a/x".utf8)]
        }
        #expect(report.issues.map(\.kind) == [.conflict])
        #expect(try FileManager.default.contentsOfDirectory(atPath: outside) == [])
    }

    @Test("links that appear while the restore runs lead nowhere")
    func linksDuring() throws {
        let fixture = try RestoreFixture()
        for index in 0..<400 { try fixture.write("d\(index)/e/f", Array("content \(index)".utf8)) }
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let outside = fixture.place("outside")
        try RestoreFixture.shell("mkdir '\(outside)' '\(target)'")
        let attacker = Process()
        attacker.executableURL = URL(fileURLWithPath: "/bin/bash")
        // -T: with a link in its own way the attacker would move things outside by itself.
        attacker.arguments = [
            "-c",
            """
            cd '\(target)'; while [ ! -e '\(outside)/stop' ]; do for d in .\(fixture.source)/d*; do
            mv -T $d/e $d/moved 2>/dev/null && ln -sT '\(outside)' $d/e; done; done 2>/dev/null
            """,
        ]
        try attacker.run()
        defer {
            try? RestoreFixture.write(outside + "/stop", [])
            attacker.waitUntilExit()
        }
        for _ in 0..<5 {
            _ = try fixture.restore(reader, to: target) { $0.conflict = .never }
            try RestoreFixture.shell("rm -rf '\(target)'/* || true")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: outside) == [])
    }

    @Test("a full directory where a file was stays, unless what is too much is to go")
    func directoryInTheWay() throws {
        let fixture = try RestoreFixture()
        let (reader, target, directory) = try prepare("mkdir f; printf x > f/x", in: fixture)
        let report = try fixture.restore(reader, to: target) { $0.conflict = .always }
        #expect(report.issues.map(\.kind) == [.conflict])
        #expect(RestoreFixture.exists(directory + "/f/x"))
        let again = try fixture.restore(reader, to: target) {
            $0.conflict = .always
            $0.deleteExtra = true
        }
        #expect(again.issues == [])
        #expect(try RestoreFixture.read(directory + "/f") == Array("point".utf8))
    }

    @Test("--delete makes a directory exactly what it was, and nothing outside of it is touched")
    func delete() throws {
        let fixture = try RestoreFixture()
        try fixture.make("mkdir -p a/b c; printf 1 > a/b/x; printf 2 > c/y")
        let reader = try fixture.backup()
        let original = try RestoreFixture.shell("cd '\(fixture.source)' && find . | sort")
        try fixture.make(
            """
            mkdir -p a/new/deep a/b/z; printf 9 > a/new/deep/f; printf 8 > extra
            ln -s / a/b/z/root; printf 7 > c/keep
            """
        )
        let beside = fixture.place("beside")
        try RestoreFixture.write(beside, [1])
        // Only below the asked path.
        let first = try fixture.restoreInPlace(reader) {
            $0.paths = [fixture.path.appending("a".utf8)]
            $0.deleteExtra = true
        }
        #expect(first.issues == [])
        #expect(first.removed == 5)
        #expect(RestoreFixture.exists(fixture.source + "/extra") && RestoreFixture.exists(fixture.source + "/c/keep"))
        let second = try fixture.restoreInPlace(reader) { $0.deleteExtra = true }
        #expect(second.issues == [])
        #expect(try RestoreFixture.shell("cd '\(fixture.source)' && find . | sort") == original)
        #expect(RestoreFixture.exists(beside))
        #expect(throws: HoldfastError.self) {
            try fixture.restoreInPlace(reader) {
                $0.deleteExtra = true
                $0.conflict = .rename
            }
        }
    }

    @Test("a vault inside of what is made exact is left alone")
    func untouchable() throws {
        let fixture = try RestoreFixture()
        try fixture.make("mkdir a; printf 1 > a/x")
        let reader = try fixture.backup()
        try fixture.make("mkdir -p a/vault/packs; printf pack > a/vault/packs/p; printf 2 > a/more")
        let report = try fixture.restoreInPlace(reader) {
            $0.deleteExtra = true
            $0.own = try! OwnPlaces([Array((fixture.source + "/a/vault").utf8)])
        }
        #expect(report.removed == 1)
        #expect(try RestoreFixture.read(fixture.source + "/a/vault/packs/p") == Array("pack".utf8))
        #expect(!RestoreFixture.exists(fixture.source + "/a/more"))
    }

    @Test("a large file that changed in part is fetched in part")
    func partOfLargeFile() throws {
        let fixture = try RestoreFixture()
        var random = SeededGenerator(seed: 31)
        let bytes = random.bytes(20_000_000)
        try fixture.write("large", bytes)
        let reader = try fixture.backup()
        var changed = bytes
        changed.replaceSubrange(9_000_000..<9_000_010, with: Array(repeating: 0, count: 10))
        try fixture.write("large", changed)
        let report = try fixture.restoreInPlace(reader)
        #expect(report.issues == [])
        #expect(report.bytesWritten <= 1 << 20)
        #expect(try RestoreFixture.read(fixture.source + "/large") == bytes)
        // Touched only: nothing is fetched, the time comes back.
        try fixture.make("touch large")
        let again = try fixture.restoreInPlace(reader)
        #expect(again.bytesWritten == 0)
        #expect(again.metadataOnly == 1)
        #expect(try fixture.restoreInPlace(reader).filesUnchanged == 1)
    }

    @Test("modes, owners, attributes and times that were changed come back without the content")
    func metadataOnly() throws {
        let fixture = try RestoreFixture()
        try fixture.make(
            """
            printf x > f; setfattr -n user.a -v 1 f; chmod 640 f; touch -d '2020-02-02 UTC' f; mkdir d; chmod 711 d
            """)
        let reader = try fixture.backup()
        try fixture.make(
            """
            setfattr -n user.a -v 2 f; setfattr -n user.b -v 3 f; chmod 755 f d; touch -d '2020-02-02 UTC' f
            """)
        let report = try fixture.restoreInPlace(reader)
        #expect(report.issues == [])
        #expect(report.bytesWritten == 0)
        #expect(
            try RestoreFixture.shell("cd '\(fixture.source)'; stat -c %a f d; getfattr -d f --absolute-names | grep =")
                == "640\n711\nuser.a=\"1\"\n")
    }
}

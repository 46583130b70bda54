import Capture
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

/// What somebody does in the destination while a restore runs, or between two runs of it, survives.
@Suite struct SinceThePlanTests {
    private func store(_ fixture: RestoreFixture) throws -> UndoStore {
        try RestoreFixture.shell("mkdir '\(fixture.place("state"))'")
        return UndoStore(directory: Array(fixture.place("state").utf8))
    }

    private func request(_ fixture: RestoreFixture) -> RestoreRequest {
        var request = RestoreRequest(paths: [fixture.path], destination: .inPlace)
        request.deleteExtra = true
        request.sync = false
        return request
    }

    @Test("what changes after the plan of a restore in place is neither replaced nor removed")
    func duringCheckpoint() throws {
        let fixture = try RestoreFixture()
        try fixture.make(
            """
            mkdir d; for n in 1 2 3 4 5; do printf old > f$n; done; printf old > planned; ln planned other
            head -c 200000 /dev/zero > large; printf old > d/f
            """)
        let reader = try fixture.backup()
        try fixture.make(
            """
            printf edited > planned; mkdir -p extra/below; printf x > extra/x; printf x > extra/below/y; printf x > gone
            printf more >> large
            """)
        let store = try store(fixture)
        let job = RestoreJob(reader: reader, request: request(fixture), undo: store)
        let report = try job.run { paths in
            let point = try fixture.backUp(paths.map(\.displayText)).point
            try fixture.make(
                """
                printf EDITED > f3; printf NEW > created; mkdir d/made; printf NEW > d/made/f; chmod 700 d
                printf NEW > extra/below/z; printf AGAIN >> planned; printf AGAIN >> large; rm f5; mkdir f5
                """)
            return point
        }
        #expect(report.exitStatus == 3)
        let listed = Set(
            report.issues.filter { $0.kind == .conflict }
                .map { TreePath.display($0.path).split(separator: "/source/").last.map(String.init) ?? "" })
        #expect(
            listed.isSuperset(of: ["f3", "created", "d/made", "extra/below", "planned", "large"]), "\(report.issues)")
        #expect(
            try fixture.make(
                "cat f3 created d/made/f extra/below/y extra/below/z planned; tail -c 5 large; stat -c %a d")
                == "EDITEDNEWNEWxNEWeditedAGAINAGAIN700\n")
        // What was planned and did not change is done.
        #expect(!RestoreFixture.exists(fixture.source + "/gone") && !RestoreFixture.exists(fixture.source + "/extra/x"))
        // And the next time all of it is.
        let again = try RestoreJob(reader: reader, request: request(fixture), undo: store).run { paths in
            try fixture.backUp(paths.map(\.displayText)).point
        }
        #expect(again.issues == [])
        #expect(try fixture.make("cat f3 planned other d/f") == "oldoldoldold")
        #expect(!RestoreFixture.exists(fixture.source + "/created"))
    }

    @Test("files with several names that the restore itself touches are no changes of somebody else")
    func hardLinks() throws {
        let fixture = try RestoreFixture()
        try fixture.make(
            "printf 1 > a; printf 2 > b; printf 3 > c; ln c d; ln c e; printf 4 > x; ln x y; chmod 640 c; printf 5 > z")
        let reader = try fixture.backup()
        try fixture.make(
            """
            rm b; ln a b; printf 1 >> a; rm d; printf other > d; ln d more; chmod 600 c; rm y; ln d y; ln z zz; ln z zzz
            mkdir rest; ln x rest/x; ln x rest/xx; touch -d '2001-01-01 UTC' x
            """)
        let report = try RestoreJob(reader: reader, request: request(fixture), undo: try store(fixture)).run { paths in
            try fixture.backUp(paths.map(\.displayText)).point
        }
        #expect(report.issues == [])
        #expect(
            try fixture.make("cat a b c d e x y z; stat -c %h a b c x z; ls | wc -l") == "123334451\n1\n3\n2\n1\n8\n")
    }

    @Test("a restore below a directory that was interrupted keeps what was edited or made there since")
    func editedBetween() throws {
        let fixture = try RestoreFixture()
        try fixture.make(
            """
            mkdir d; for n in 1 2 3 4; do printf "orig $n" > d/f$n; touch -d '2020-01-01 UTC' d/f$n; done; ln -s a link
            chmod 750 d; chmod 640 d/f1
            """)
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let directory = target + fixture.source
        #expect(try fixture.restore(reader, to: target).issues == [])
        // As it was interrupted: f2 was being written, f3 and f4 were not there.
        try RestoreFixture.write(target + "/.holdfast-restore-unfinished", Array((reader.point.hex + "\n").utf8))
        try RestoreFixture.shell(
            """
            cd '\(directory)/d'; rm f3 f4; rm f2; printf or > f2; chmod 1600 f2; chmod 700 .; rm ../link; ln -s mine ../link
            printf "MY EDIT" >> f1; printf "MINE" > f3
            """)
        let report = try fixture.restore(reader, to: target)
        #expect(report.issues == [])
        let suffix = Restorer.renameSuffix(of: reader.point)
        #expect(report.renamed == 3)
        #expect(
            try RestoreFixture.shell("cd '\(directory)/d'; cat f1 f2 f3 f4; stat -c %a . f2; readlink ../link")
                == "orig 1MY EDITorig 2MINEorig 4750\n644\nmine\n")
        #expect(try RestoreFixture.read(directory + "/d/f1" + suffix) == Array("orig 1".utf8))
        #expect(try RestoreFixture.read(directory + "/d/f3" + suffix) == Array("orig 3".utf8))
        #expect(!RestoreFixture.exists(target + "/.holdfast-restore-unfinished"))
    }

    @Test("under the rule rename nothing that stands there gets another mode, owner or attribute")
    func metadataStay() throws {
        let fixture = try RestoreFixture()
        try fixture.make(
            "mkdir dir; printf x > f; printf y > dir/g; printf z > dir/more; touch -d '2020-01-01 UTC' f dir/g dir")
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let directory = target + fixture.source
        try fixture.restore(reader, to: target)
        try RestoreFixture.shell(
            """
            cd '\(directory)'; chmod 600 f; chmod 700 dir; setfattr -n user.note -v mine f; ln dir/g linked; rm dir/more
            touch -d '2021-01-01 UTC' dir
            """)
        for rule in [RestoreRequest.Conflict.rename, .newer] {
            let report = try fixture.restore(reader, to: target) { $0.conflict = rule == .rename ? nil : rule }
            #expect(report.issues == [] && report.metadataOnly == 0)
            #expect(
                try RestoreFixture.shell(
                    "cd '\(directory)'; stat -c '%a' f dir; date -u -r dir +%Y; getfattr --only-values -n user.note f; cat dir/more"
                )
                    == "600\n700\n2021\nminez")
        }
        let plan = try RestorePlanner(
            reader: reader, request: RestoreRequest(paths: [fixture.path], destination: .directory(Array(target.utf8)))
        ).run()
        #expect(plan.metadata.count == 0)
    }

    @Test("an equal file where the point has a further name is not copied beside it")
    func equalInsteadOfLink() throws {
        let fixture = try RestoreFixture()
        try fixture.make("printf x > a; ln a b; touch -d '2020-01-01 UTC' a")
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let directory = target + fixture.source
        try RestoreFixture.shell(
            "mkdir -p '\(directory)'; cd '\(fixture.source)'; cp -p a '\(directory)/a'; cp -p a '\(directory)/b'")
        for rule in [RestoreRequest.Conflict.rename, .newer, .never] {
            let report = try fixture.restore(reader, to: target) { $0.conflict = rule }
            #expect(report.renamed == 0 && report.issues == [], "\(rule)")
        }
        #expect(try RestoreFixture.shell("ls '\(target + fixture.source)' | wc -l") == "2\n")
    }

    @Test("two restores of a point into one directory exclude each other")
    func oneAtATime() throws {
        let fixture = try RestoreFixture()
        try fixture.make("printf x > f")
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let request = RestoreRequest(paths: [fixture.path], destination: .directory(Array(target.utf8)))
        do {
            let first = try RestorePlace.open(request, point: reader.point)
            let error = #expect(throws: HoldfastError.self) { try fixture.restore(reader, to: target) }
            #expect(error?.code == .busy && first.isFresh)
        }
        #expect(try fixture.restore(reader, to: target).issues == [])
        #expect(try fixture.differences(target + fixture.source) == "")
    }

    @Test("a partial point says that it is one, and --delete does not go with it")
    func partial() throws {
        let fixture = try RestoreFixture()
        var random = SeededGenerator(seed: 77)
        for index in 0..<2500 { try fixture.write("a/f\(index)", random.bytes(2000)) }
        try fixture.make("mkdir c; printf thesis > c/thesis")
        _ = try fixture.backUp { $0.partialBytes = 1 }
        let partial = try #require(try fixture.vault.points(PointQuery()).first { $0.isPartial })
        let reader = try fixture.open(partial.id)
        let target = fixture.place("out")
        let report = try fixture.restore(reader, to: target)
        #expect(report.issues.map(\.kind) == [.incomplete] && report.exitStatus == 3, "\(report.issues)")
        let error = #expect(throws: HoldfastError.self) {
            try fixture.restore(reader, to: target) {
                $0.deleteExtra = true
                $0.conflict = .always
            }
        }
        #expect(error?.code == .usage)
        var wish = request(fixture)
        #expect(throws: HoldfastError.self) { try RestorePlanner(reader: reader, request: wish) }
        wish.deleteExtra = false
        #expect(try RestorePlanner(reader: reader, request: wish).run().exitStatus == 3)
    }

    @Test(
        "--delete empties no directory that is mounted a second time below a restored one", .enabled(if: geteuid() == 0)
    )
    func bindMounts() throws {
        let fixture = try RestoreFixture()
        try fixture.make("mkdir mp sub; printf x > f; printf y > sub/g")
        let reader = try fixture.backup()
        let data = fixture.place("data")
        let target = fixture.place("out")
        let copy = target + fixture.source
        try RestoreFixture.shell(
            "mkdir -p '\(data)/deep' '\(copy)/mp'; printf 1 > '\(data)/a'; printf 2 > '\(data)/deep/b'")
        guard
            (try? RestoreFixture.shell(
                "mount --bind '\(data)' '\(fixture.source)/mp'; mount --bind '\(data)' '\(copy)/mp'")) != nil
        else { return print("skipped: nothing can be mounted here") }
        defer { _ = try? RestoreFixture.shell("umount -l '\(fixture.source)/mp'; umount -l '\(copy)/mp'") }
        try fixture.make("printf e > extra; printf e > sub/extra")
        let plan = try RestorePlanner(reader: reader, request: request(fixture)).run()
        #expect(plan.removes.count == 2 && plan.issues.map(\.kind) == [.conflict])
        let inPlace = try fixture.restoreInPlace(reader) { $0.deleteExtra = true }
        let to = try fixture.restore(reader, to: target) {
            $0.deleteExtra = true
            $0.conflict = .always
        }
        for report in [inPlace, to] {
            #expect(report.issues.map(\.kind) == [.conflict], "\(report.issues)")
        }
        #expect(inPlace.removed == 2)
        #expect(try RestoreFixture.shell("cat '\(data)/a' '\(data)/deep/b'") == "12")
    }

    @Test("a change time of a clock that was hours ahead keeps nothing from being restored")
    func future() throws {
        let fixture = try RestoreFixture()
        try fixture.make("printf 1 > f")
        let status = try FileSystem.status(Array((fixture.source + "/f").utf8))
        // Seen from a moment before the change it is a change of somebody else ...
        #expect(PlanMoment(FileInstant(seconds: status.changed.seconds - 60, nanoseconds: 1)).isBefore(status))
        // ... and so it is with a clock that says the present is a minute earlier, but not with one that is hours behind.
        let now = status.changed.seconds
        #expect(PlanMoment.mayBeLate(status.changed, now: now - 60))
        #expect(!PlanMoment.mayBeLate(status.changed, now: now - 2 * 3_600))
    }
}

import Capture
import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Recovery

/// Restores in place, and their taking back, that were interrupted; and what takes the place of something else.
@Suite struct UndoInterruptedTests {
    private func store(_ fixture: RestoreFixture) throws -> UndoStore {
        try RestoreFixture.shell("mkdir '\(fixture.place("state"))'")
        return UndoStore(directory: Array(fixture.place("state").utf8))
    }

    private func listing(_ fixture: RestoreFixture) throws -> String {
        try RestoreFixture.shell(
            """
            cd '\(fixture.source)'; find . -printf '%p %y %m %U %G %T@ %l\\n' | sort
            find . -type f -print0 | sort -z | xargs -0 -r sha256sum
            """)
    }

    private func job(_ fixture: RestoreFixture, _ reader: PointReader, _ store: UndoStore) -> RestoreJob {
        var request = RestoreRequest(paths: [fixture.path], destination: .inPlace)
        request.deleteExtra = true
        request.sync = false
        return RestoreJob(reader: reader, request: request, undo: store)
    }

    private func protect(_ fixture: RestoreFixture) -> ([TreePath]) throws -> PointID {
        { paths in try fixture.backUp(paths.map(\.displayText)).point }
    }

    /// Restores, and stops when so many files are written.
    private func restore(
        _ fixture: RestoreFixture, _ reader: PointReader, _ store: UndoStore, stopping: Bool = false
    ) throws -> RestoreReport? {
        let job = job(fixture, reader, store)
        let protect = protect(fixture)
        do {
            return try job.run { paths in
                defer { if stopping { job.progress.stopRequested.store(true, ordering: .relaxed) } }
                return try protect(paths)
            }
        } catch let error as HoldfastError where error.code == .cancelled { return nil }
    }

    private func undo(
        _ fixture: RestoreFixture, _ store: UndoStore, stopping: Bool = false
    ) throws -> RestoreReport? {
        let job = try UndoJob(store: store)
        let protect = protect(fixture)
        do {
            return try job.run {
                try fixture.open($0)
            } protect: { paths in
                defer { if stopping { job.progress.stopRequested.store(true, ordering: .relaxed) } }
                return try protect(paths)
            }
        } catch let error as HoldfastError where error.code == .cancelled { return nil }
    }

    @Test("a file, a link or a directory comes back where a restore put another of them, and goes again")
    func kinds() throws {
        let kinds = [
            "file": "printf FILE > x", "link": "ln -s target x",
            "directory": "mkdir -p x/y; printf 1 > x/f; printf 2 > x/y/g",
        ]
        for (old, make) in kinds {
            for (new, makeNew) in kinds {
                let fixture = try RestoreFixture()
                let store = try store(fixture)
                try fixture.make("\(make); printf k > keep")
                let reader = try fixture.backup()
                let before = try listing(fixture)
                try fixture.make("rm -r x; \(makeNew); [ ! -f x ] || printf MORE >> x; [ ! -d x ] || printf 3 > x/more")
                let worked = try listing(fixture)
                #expect(try restore(fixture, reader, store)?.issues == [], "\(new) by \(old)")
                #expect(try listing(fixture) == before, "\(new) by \(old)")
                #expect(try undo(fixture, store)?.issues == [], "\(new) by \(old)")
                #expect(try listing(fixture) == worked, "\(new) by \(old)")
                #expect(try undo(fixture, store)?.issues == [], "\(new) by \(old)")
                #expect(try listing(fixture) == before, "\(new) by \(old)")
            }
        }
    }

    @Test("a restore that was interrupted and run again is taken back as one")
    func chained() throws {
        let fixture = try RestoreFixture()
        let store = try store(fixture)
        let original = fixture.place("original")
        try fixture.make("mkdir d gone; printf old > a; printf old > d/b; printf old > z; printf old > gone/f")
        try fixture.make("cp -p a '\(original)'")
        let reader = try fixture.backup()
        try fixture.make("printf worked > a; printf worked > d/b; printf worked > z; printf worked > extra; rm -r gone")
        let worked = try listing(fixture)
        // The first run gets as far as a and gone.
        #expect(try restore(fixture, reader, store, stopping: true) == nil)
        #expect(try store.last()?.isComplete == false)
        try fixture.make("cp -p '\(original)' a; mkdir gone; printf old > gone/f; rm extra")
        // Between the two somebody works on.
        try fixture.make("printf between > z; printf between > more")
        #expect(try restore(fixture, reader, store)?.issues == [])
        #expect(try fixture.make("cat a d/b z gone/f; ls") == "oldoldoldolda\nd\ngone\nz\n")
        let done = try undo(fixture, store)
        #expect(done?.issues == [])
        func isAsBefore(_ line: Substring) -> Bool {
            !line.hasPrefix(". ") && !line.contains("./a ") && !line.contains("./z")
        }
        // What only the second run removed is there as well.
        #expect(try fixture.make("cat more; rm more") == "between")
        #expect(
            try listing(fixture).split(separator: "\n").filter(isAsBefore)
                == worked.split(separator: "\n").filter(isAsBefore))
        // What somebody made of z between the two is his work.
        #expect(try fixture.make("cat a d/b z extra") == "workedworkedbetweenworked")
        // Another restore is one of its own.
        #expect(try restore(fixture, reader, store)?.issues == [])
        #expect(try store.last()?.earlier == [])
    }

    @Test("what the first of two runs had begun and not completed is nobody's work, and does not return")
    func halfWritten() throws {
        let fixture = try RestoreFixture()
        let store = try store(fixture)
        try fixture.make("printf old > n; printf old > keep")
        let reader = try fixture.backup()
        try fixture.make("rm n; printf worked > keep")
        #expect(try restore(fixture, reader, store, stopping: true) == nil)
        // Killed while it wrote.
        try fixture.make("printf ol > n; chmod 1600 n")
        #expect(try restore(fixture, reader, store)?.issues == [])
        #expect(try fixture.make("cat n") == "old")
        #expect(try undo(fixture, store)?.issues == [])
        #expect(try fixture.make("ls; cat keep") == "keep\nworked")
    }

    @Test("a taking back that was interrupted goes on the next time, and can be taken back in turn")
    func undoInterrupted() throws {
        let fixture = try RestoreFixture()
        let store = try store(fixture)
        try fixture.make("mkdir d; printf old > a; printf old > d/b; printf old > lost; printf old > z")
        let reader = try fixture.backup()
        try fixture.make("printf worked > a; printf worked > d/b; printf worked > z; rm lost; printf worked > extra")
        let worked = try listing(fixture)
        #expect(try restore(fixture, reader, store)?.issues == [])
        let restored = try listing(fixture)
        #expect(try undo(fixture, store, stopping: true) == nil)
        let record = try #require(try store.last())
        #expect(record.isUnfinishedUndo)
        // Some of it was done.
        try fixture.make("printf worked > a; rm -f lost")
        do {
            let job = try UndoJob(store: store)
            #expect(Set(job.returning.map(\.displayText)).contains(fixture.source + "/z"))
            #expect(job.removing.map(\.displayText) == [fixture.source + "/lost"])
        }
        #expect(try undo(fixture, store)?.issues == [])
        #expect(try fixture.make("cat a d/b z extra") == "workedworkedworkedworked")
        #expect(!RestoreFixture.exists(fixture.source + "/lost"))
        #expect(try listing(fixture) == worked)
        #expect(try store.last()?.isComplete == true)
        #expect(try undo(fixture, store)?.issues == [])
        #expect(try listing(fixture) == restored)
    }

    @Test("what cannot be taken back is not forgotten", .enabled(if: geteuid() == 0))
    func failedUndo() throws {
        let fixture = try RestoreFixture()
        let store = try store(fixture)
        try fixture.make("printf old > a; mkdir made; printf old > made/f; printf old > b")
        let reader = try fixture.backup()
        try fixture.make("printf worked > a; rm -r made; printf worked > b")
        let worked = try listing(fixture)
        #expect(try restore(fixture, reader, store)?.issues == [])
        try fixture.make("mount -t tmpfs none made")
        defer { _ = try? RestoreFixture.shell("umount -l '\(fixture.source)/made'") }
        #expect(try undo(fixture, store)?.issueCounts[.conflict] == 1)
        #expect(try store.last()?.isUnfinishedUndo == true)
        try fixture.make("umount made")
        #expect(try undo(fixture, store)?.issues == [])
        #expect(try listing(fixture) == worked)
    }

    @Test("one that was interrupted counts what was changed since it began")
    func changedSince() throws {
        let fixture = try RestoreFixture()
        let store = try store(fixture)
        try fixture.make("printf old > a; printf old > b")
        let reader = try fixture.backup()
        try fixture.make("rm a; printf worked > b")
        #expect(try restore(fixture, reader, store, stopping: true) == nil)
        usleep(20_000)
        try fixture.make("printf 'old and an hour of work' > a")
        let job = try UndoJob(store: store)
        #expect(job.changedSince().count == 1 && job.changedSince().samples.first?.displayText == fixture.source + "/a")
    }

    @Test("what differs only in a hole is found by reading")
    func holes() throws {
        let fixture = try RestoreFixture()
        try fixture.make(
            """
            truncate -s 20M s; printf data | dd of=s bs=1 seek=5000000 conv=notrunc status=none; truncate -s 3M empty
            truncate -s 2M zeros; touch -d '2020-01-01 UTC' s empty zeros
            """)
        let reader = try fixture.backup()
        // Zeros that are written are no difference.
        try fixture.make("dd if=/dev/zero of=zeros bs=1M count=2 status=none; touch -d '2020-01-01 UTC' zeros")
        let good = try fixture.restoreInPlace(reader) { $0.verify = true }
        #expect(good.issues == [] && good.verified == 3)
        try fixture.make(
            """
            printf EVIL | dd of=s bs=1 seek=1000000 conv=notrunc status=none
            printf EVIL | dd of=empty bs=1 seek=3145724 conv=notrunc status=none; touch -d '2020-01-01 UTC' s empty
            """)
        let copy = fixture.place("copy")
        try RestoreFixture.shell("cp -a '\(fixture.source)' '\(copy)'")
        let report = try fixture.restoreInPlace(reader) { $0.verify = true }
        #expect(report.issueCounts[.content] == 2 && report.exitStatus == 3)
        #expect(try fixture.make("tr -d '\\0' < s; tr -d '\\0' < empty") == "data")
        // A verification without a comparison before finds it as well.
        let target = fixture.place("out")
        try fixture.restore(reader, to: target)
        try RestoreFixture.shell("cp -a '\(copy)/s' '\(target + fixture.source)/s'")
        let found = try fixture.restore(reader, to: target) {
            $0.checksContents = true
            $0.conflict = .never
        }
        #expect(found.issueCounts[.conflict] == 1)
    }

    @Test("large files that the point has apart do not stay one, and names outside keep their metadata")
    func largeAndShared() throws {
        let fixture = try RestoreFixture()
        try fixture.make(
            """
            mkdir in out; head -c 3000000 /dev/urandom > a; cp -p a b; head -c 200000 /dev/urandom > in/f; chmod 644 in/f
            head -c 300000 /dev/urandom > in/l; ln in/l in/m
            """)
        let reader = try fixture.backup()
        try fixture.make(
            "rm b; ln a b; touch a; ln in/f out/g; chmod 600 out/g; touch out/g; touch in/l; printf x >> out/h")
        let report = try fixture.restoreInPlace(reader) {
            $0.paths = ["a", "b", "in"].map { fixture.path.appending($0.utf8) }
        }
        #expect(report.issues == [])
        #expect(
            try fixture.make("cmp a b; stat -c '%h %a' a b in/f out/g in/l in/m")
                == "1 644\n1 644\n1 644\n1 600\n2 644\n2 644\n")
        #expect(try fixture.restoreInPlace(reader).filesWritten == 0)
    }

    @Test("flags of directories above what is restored stay", .enabled(if: geteuid() == 0))
    func flagsAbove() throws {
        let fixture = try RestoreFixture()
        try fixture.make("mkdir -p anc/prot; printf 1 > anc/prot/f")
        let reader = try fixture.backup([fixture.source + "/anc/prot"])
        guard (try? fixture.make("chattr +i anc && lsattr -d anc | grep -q i-")) != nil else {
            return print("skipped: no flags here")
        }
        try fixture.make("printf 22 > anc/prot/f")
        let report = try fixture.restoreInPlace(reader) { $0.paths = [.root] }
        #expect(report.issues == [])
        #expect(try fixture.make("cat anc/prot/f") == "1")
        #expect(try fixture.make("lsattr -d anc | cut -c5") == "i\n")
    }
}

import Capture
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

/// What the point does not have, although it may have been there.
@Suite struct PointGapsTests {
    /// The point with another record, as a backup that had trouble would have written it.
    private func reopen(
        _ reader: PointReader, _ change: (inout PointRecord) -> Void
    ) -> PointReader {
        var record = reader.record
        change(&record)
        return PointReader(service: reader.service, locator: reader.locator, record: record, checker: reader.checker)
    }

    @Test("directories that could not be read say so, and so do names that could not be looked at")
    func unreadable() throws {
        let fixture = try RestoreFixture()
        try fixture.make("mkdir -p no elsewhere; printf 1 > x")
        let whole = try fixture.backup()
        let reader = reopen(whole) { record in
            for (name, reason) in [
                ("no", PointWarning.Reason.denied), ("hidden", .io), ("gone", .vanished), ("x", .metadata),
            ] {
                record.warnings.append(
                    PointWarning(reason: reason, path: fixture.path.appending(name.utf8).bytes, text: "trouble"))
            }
        }
        let report = try fixture.restore(reader, to: fixture.place("out"))
        #expect(
            Set(report.issues.map { TreePath(unchecked: $0.path).displayText })
                == [fixture.source + "/no", fixture.source + "/hidden"])
        #expect(report.issues.allSatisfy { $0.kind == .incomplete })
        #expect(report.exitStatus == 3)
        // Not where something else is restored.
        let other = try fixture.restore(reader, to: fixture.place("other")) {
            $0.paths = [fixture.path.appending("elsewhere".utf8)]
        }
        #expect(other.issues == [])
        var request = RestoreRequest(paths: [fixture.path], destination: .inPlace)
        #expect(try RestorePlanner(reader: reader, request: request).run().issueCounts == [.incomplete: 2])

        // More than the point lists: nothing is certain, and nothing is removed.
        try fixture.make("printf e > extra")
        let uncertain = reopen(whole) { $0.furtherWarnings = 5 }
        request.deleteExtra = true
        let kept = try Restorer(reader: uncertain, request: request).run()
        #expect(Set(kept.issues.map(\.kind)) == [.incomplete, .conflict])
        #expect(kept.issues.contains { $0.text.hasPrefix("nothing is removed") })
        #expect(RestoreFixture.exists(fixture.source + "/extra"))
    }

    @Test("--delete is refused for a point from which something was left out on purpose, unless that is meant")
    func exclusions() throws {
        let fixture = try RestoreFixture()
        try fixture.make("printf 1 > x; printf 2 > movie.iso")
        let reader = try fixture.backup {
            $0.source.exclusions = ExclusionRules(
                ExclusionPattern.commandLine(Array("*.iso".utf8), roots: [fixture.path.bytes]))
            $0.source.excludeCaches = true
            $0.source.maximumFileSize = 200_000
        }
        #expect(
            reader.record.exclusions.map { String(decoding: $0, as: UTF8.self) }
                == ["--exclude *.iso", "--exclude-caches", "--exclude-larger-than 200000"])
        let error = #expect(throws: HoldfastError.self) {
            try fixture.restoreInPlace(reader) { $0.deleteExtra = true }
        }
        #expect(error?.code == .usage)
        #expect(RestoreFixture.exists(fixture.source + "/movie.iso"))
        #expect(try fixture.restoreInPlace(reader).issues == [])
        let report = try fixture.restoreInPlace(reader) {
            $0.deleteExtra = true
            $0.deletesExcluded = true
        }
        #expect(report.removed == 1)
        #expect(try fixture.backup().record.exclusions == [])
    }
}

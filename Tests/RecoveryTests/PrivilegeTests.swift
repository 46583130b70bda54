import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

@Suite struct PrivilegeTests {
    /// cap_net_raw, as `setcap` writes it.
    private static let capability = "0x0100000200200000000000000000000000000000"

    private func protected() throws -> (RestoreFixture, PointReader) {
        let fixture = try RestoreFixture()
        try fixture.make(
            """
            for f in user group both; do printf x > $f; chown nobody:nogroup $f; done
            chmod 4755 user; chmod 2755 group; chmod 6755 both
            printf x > able; chown nobody:nogroup able; setfattr -n security.capability -v \(PrivilegeTests.capability) able
            mkdir dir; chown nobody:nogroup dir; chmod 2775 dir; printf x > sticky; chmod 1644 sticky
            """)
        return (fixture, try fixture.backup())
    }

    private func modes(_ directory: String) throws -> String {
        try RestoreFixture.shell(
            """
            cd '\(directory)'; stat -c %a user group both dir sticky | tr '\\n' ' '
            getfattr -h -n security.capability able >/dev/null 2>&1 && echo able || echo unable
            """)
    }

    @Test("set-user-id bits and capabilities come back with their owner", .enabled(if: geteuid() == 0))
    func kept() throws {
        let (fixture, reader) = try protected()
        for policy in [OwnerPolicy.numbers, .names] {
            let target = fixture.place("out-\(UUID().uuidString)")
            #expect(try fixture.restore(reader, to: target) { $0.owners = policy }.issues == [])
            #expect(try modes(target + fixture.source) == "4755 2755 6755 2775 1644 able\n")
        }
    }

    @Test("with another owner they are taken away, which is said", .enabled(if: geteuid() == 0))
    func taken() throws {
        let (fixture, reader) = try protected()
        let table = try OwnerMap(parsing: Array("user nobody root\ngroup nogroup root\n".utf8))
        for policy in [OwnerPolicy.me, .map(table)] {
            let target = fixture.place("out-\(UUID().uuidString)")
            let report = try fixture.restore(reader, to: target) { $0.owners = policy }
            #expect(report.issues.map(\.kind) == [.metadata])
            #expect(report.issues.first?.count == 4)
            #expect(report.exitStatus == 3)
            #expect(try modes(target + fixture.source) == "755 755 755 2775 1644 unable\n")
            // It is as it is to be: nothing is set again.
            let again = try fixture.restore(reader, to: target) { $0.owners = policy }
            #expect(again.metadataOnly == 0 && again.issues == [])
        }
    }

    @Test("in place a program that has got another owner loses the bits with it", .enabled(if: geteuid() == 0))
    func inPlace() throws {
        let (fixture, reader) = try protected()
        try fixture.make("chown root:root user able; chmod 4755 user")
        let report = try fixture.restoreInPlace(reader) {
            $0.owners = .me
            $0.paths = [fixture.path.appending("user".utf8)]
        }
        #expect(report.metadataOnly == 1)
        #expect(try RestoreFixture.shell("stat -c %a '\(fixture.source)/user'") == "755\n")
    }
}

import Model
import TestSupport
import Testing

@testable import Policy

@Suite("What a machine allows its server")
struct MachineAllowanceTests {
    private func parse(_ text: String) throws -> MachineAllowance { try MachineAllowance.parse(Array(text.utf8)) }
    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test("without a file a server may put protected files back and nothing else")
    func defaults() throws {
        for allowance in [MachineAllowance(), try parse(""), try parse("# nothing\n"), try parse("{}\n")] {
            #expect(allowance == MachineAllowance())
            let home = bytes("/home")
            #expect(allowance.allowsRestore(to: bytes("/home/ann/x"), protected: [home]))
            #expect(allowance.allowsRestore(to: home, protected: [home]))
            #expect(!allowance.allowsRestore(to: bytes("/homework"), protected: [home]))
            #expect(!allowance.allowsRestore(to: bytes("/etc/cron.d/x"), protected: [home]))
            #expect(!allowance.allowsHook("/bin/true"))
        }
    }

    @Test("what the file names is allowed, and only that")
    func allowed() throws {
        let allowance = try parse(
            "restore: {in-place: false, paths: [/srv/restore/]}\nhooks: [/usr/local/bin/dump-db  --all]\n")
        #expect(!allowance.allowsRestore(to: bytes("/home/x"), protected: [bytes("/home")]))
        #expect(allowance.allowsRestore(to: bytes("/srv/restore/monday"), protected: []))
        #expect(allowance.allowsRestore(to: bytes("/srv//restore/"), protected: []))
        #expect(allowance.allowsHook("/usr/local/bin/dump-db --all"))
        #expect(!allowance.allowsHook("/usr/local/bin/dump-db"))
        #expect(!allowance.allowsHook("/usr/local/bin/dump-db --all; reboot"))
    }

    @Test(
        "no spelling leads out of what is allowed",
        arguments: [
            "/srv/restore/../../etc", "/srv/restore/..", "srv/restore", "", "/srv/./restore", "/srv/restore2", "/srv",
        ])
    func escapes(path: String) throws {
        let allowance = try parse("restore: {paths: [/srv/restore]}\n")
        #expect(!allowance.allowsRestore(to: bytes(path), protected: []))
    }

    @Test("names that are not UTF-8 are judged like others")
    func otherBytes() throws {
        let allowance = try parse("restore: {paths: [/srv/restore]}\n")
        #expect(allowance.allowsRestore(to: bytes("/srv/restore/") + [0xE9], protected: []))
        #expect(!allowance.allowsRestore(to: bytes("/srv/restore/") + [0xE9] + bytes("/../../x"), protected: []))
        #expect(!allowance.allowsRestore(to: bytes("/srv/") + [0xE9], protected: []))
    }

    @Test("mistakes are told with their place, all at once")
    func mistakes() {
        let text = "restores: {}\nrestore: {in-place: maybe, paths: [tmp, /a, /a]}\nhooks: dump\n"
        let problems = MachineAllowance.check(Array(text.utf8)).problems.map(\.description)
        #expect(problems.count == 5, "\(problems)")
        #expect(problems.first == "line 1, column 1: allow.yaml has no key \"restores\". Did you mean \"restore\"?")
        let error = #expect(throws: HoldfastError.self) { try MachineAllowance.parse(Array("x: 1".utf8)) }
        #expect(error?.message.hasPrefix("/etc/holdfast/allow.yaml:1:1: ") == true)
    }
}

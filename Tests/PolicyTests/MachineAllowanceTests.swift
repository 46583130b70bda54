import Model
import TestSupport
import Testing

@testable import Policy

@Suite("What a machine allows its server")
struct MachineAllowanceTests {
    private func parse(_ text: String) throws -> MachineAllowance { try MachineAllowance.parse(Array(text.utf8)) }
    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test("without a file a server may restore into new folders and nothing else")
    func defaults() throws {
        for allowance in [MachineAllowance(), try parse(""), try parse("# nothing\n"), try parse("{}\n")] {
            #expect(allowance == MachineAllowance())
            let home = bytes("/home")
            #expect(!allowance.allowsInPlace(bytes("/home/ann/x"), protected: [home]))
            #expect(allowance.place(for: bytes("/var/restored/monday")) == bytes("/var/restored"))
            #expect(allowance.place(for: bytes("/var/restored")) == nil, "only what is made anew")
            #expect(allowance.place(for: bytes("/var/restored2/x")) == nil)
            #expect(allowance.place(for: bytes("/etc/cron.d")) == nil)
            #expect(!allowance.otherMachines)
            #expect(!allowance.allowsHook("/bin/true"))
        }
        #expect(MachineAllowance.nothing.place(for: bytes("/var/restored/x")) == nil)
        #expect(!MachineAllowance.nothing.allowsInPlace(bytes("/home"), protected: [bytes("/home")]))
    }

    @Test("what the file names is allowed, and only that")
    func allowed() throws {
        let allowance = try parse(
            "restore: {in-place: false, paths: [/srv/restore/], new-folder: /data/back}\n"
                + "hooks: [/usr/local/bin/dump-db  --all]\n")
        #expect(!allowance.allowsInPlace(bytes("/home/x"), protected: [bytes("/home")]))
        #expect(allowance.place(for: bytes("/srv/restore/monday")) == bytes("/srv/restore"))
        #expect(allowance.place(for: bytes("/srv/restore")) == bytes("/srv/restore"))
        #expect(allowance.place(for: bytes("/data/back/x")) == bytes("/data/back"))
        #expect(allowance.place(for: bytes("/var/restored/x")) == nil, "another place was named")
        #expect(allowance.allowsHook("/usr/local/bin/dump-db --all"))
        #expect(!allowance.allowsHook("/usr/local/bin/dump-db"))
        #expect(!allowance.allowsHook("/usr/local/bin/dump-db --all; reboot"))
        #expect(try parse("restore: {new-folder: false}\n").newFolders == nil)
        #expect(try parse("restore: {new-folder: true}\n").newFolders == MachineAllowance.usualFolders)
        #expect(try parse("restore: {other-machines: true}\n").otherMachines)
    }

    @Test("in place is what is protected, or what a list names")
    func inPlace() throws {
        let all = try parse("restore: {in-place: true}\n")
        #expect(all.allowsInPlace(bytes("/home/ann"), protected: [bytes("/home")]))
        #expect(!all.allowsInPlace(bytes("/homework"), protected: [bytes("/home")]))
        #expect(!all.allowsInPlace(bytes("/"), protected: [bytes("/home")]), "what is above is more than what is named")
        let some = try parse("restore: {in-place: [/home/ann, /srv]}\n")
        #expect(some.allowsInPlace(bytes("/home/ann/x"), protected: [bytes("/home")]))
        #expect(some.allowsInPlace(bytes("/srv"), protected: []))
        #expect(!some.allowsInPlace(bytes("/home/bob"), protected: [bytes("/home")]))
    }

    @Test(
        "no spelling leads out of what is allowed",
        arguments: [
            "/srv/restore/../../etc", "/srv/restore/..", "srv/restore", "", "/srv/./restore", "/srv/restore2", "/srv",
            "/srv//restore/x", "/srv/restore/",
        ])
    func escapes(path: String) throws {
        let allowance = try parse("restore: {paths: [/srv/restore], in-place: [/srv/restore]}\n")
        #expect(allowance.place(for: bytes(path)) == nil)
        #expect(!allowance.allowsInPlace(bytes(path), protected: []))
    }

    @Test("names that are not UTF-8 are judged like others")
    func otherBytes() throws {
        let allowance = try parse("restore: {paths: [/srv/restore]}\n")
        #expect(allowance.place(for: bytes("/srv/restore/") + [0xE9]) != nil)
        #expect(allowance.place(for: bytes("/srv/restore/") + [0xE9] + bytes("/../../x")) == nil)
        #expect(allowance.place(for: bytes("/srv/") + [0xE9]) == nil)
    }

    @Test("mistakes are told with their place, all at once")
    func mistakes() {
        let text = "restores: {}\nrestore: {in-place: maybe, paths: [tmp, /a, /a]}\nhooks: dump\n"
        let problems = MachineAllowance.check(Array(text.utf8)).problems.map(\.description)
        #expect(problems.count == 5, "\(problems)")
        #expect(problems.first == "line 1, column 1: allow.yaml has no key \"restores\". Did you mean \"restore\"?")
        let others = "restore: {new-folder: /, other-machines: perhaps, in-place: [home]}\n"
        let more = MachineAllowance.check(Array(others.utf8)).problems.map(\.description)
        #expect(more.count == 3 && more.allSatisfy { $0.hasPrefix("line 1, column ") }, "\(more)")
        let error = #expect(throws: HoldfastError.self) { try MachineAllowance.parse(Array("x: 1".utf8)) }
        #expect(error?.message.hasPrefix("/etc/holdfast/allow.yaml:1:1: ") == true)
    }
}

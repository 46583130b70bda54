import Model
import TestSupport
import Testing

@testable import Policy

@Suite("Policy files")
struct PolicyFileTests {
    @Test("every key is read, with the place of every value")
    func everything() throws {
        let policy = try Policies.anyFile.parse(Array(Policies.everything.utf8), file: "laptops.yaml")
        #expect(policy.name == "laptops")
        let protect = try #require(policy.protect)
        #expect(!protect.isOverride)
        #expect(
            protect.items.map(\.value) == [
                ProtectedPath(path: Array("/home".utf8), mode: .continuous),
                ProtectedPath(path: Array("/var/lib/app".utf8), mode: .scheduled),
                ProtectedPath(path: Array("/etc".utf8), mode: .continuous),
            ])
        #expect(protect.items.map { $0.origin.position?.line } == [4, 6, 7])
        #expect(protect.items[0].origin.description == "laptops:4")
        #expect(
            policy.exclude?.items.map(\.value) == [
                .preset(.temporary), .pattern("**/.cache/**"), .pattern("!**/.cache/keep/"),
            ])
        #expect(policy.schedule?.value.description == "weekly Mon,Wed-Fri 02:00,14:30")
        #expect(policy.timezone?.value == .named("Europe/London"))
        #expect(policy.expected?.value.description == "every 2 days of use")
        #expect(policy.retention.amounts[.continuous]?.value == .reach(.span(CalendarSpan("24h")!)))
        #expect(policy.retention.amounts[.daily]?.value == .reach(.count(14)))
        #expect(policy.retention.amounts[.yearly]?.value == .nothing)
        #expect(
            policy.retention.rules?.items.map(\.value) == [
                RetentionRule(.match("*.pst"), [.daily: .reach(.count(90))]),
                RetentionRule(
                    .path(Array("/srv/books".utf8)), [.yearly: .reach(.count(10)), .hourly: .nothing]),
            ])
        #expect(policy.checkpointOn?.items.map(\.value) == [.boot, .packageChange])
        #expect(policy.checkpointKeep?.value == CalendarSpan(months: 6))
        #expect(policy.hooksBefore?.items.map(\.value) == [Hook(command: "/usr/local/bin/dump-db --all")])
        #expect(policy.hooksAfter?.items.map(\.value) == [Hook(command: "/bin/true", timeout: .seconds(90))])
        #expect(policy.linkMinimum?.value == Rate(bytesPerSecond: 250_000))
        #expect(policy.linkMetered?.value == .smallOnly)
        #expect(
            policy.linkLimits?.items.map(\.value.description) == [
                "20Mbit/s Mon-Fri 08:00-18:00", "8Mbit/s 22:00-06:00",
            ])
        #expect(policy.spoolSize?.value == 10 << 30)
        #expect(policy.historyDuration?.value == .seconds(72 * 3_600))
        #expect(policy.historyShare?.value == Share(millionths: 125_000))
        #expect(policy.settleClose?.value == .milliseconds(500))
        #expect(policy.settleLongest?.value == .seconds(60))
        #expect(policy.lockdown?.items.map(\.value) == [.pause, .changePolicy])
        #expect(policy.spoolSize?.origin.position == SourcePosition(line: 20, column: 15))
    }

    @Test("what this version does not do is refused, each with its place, and nothing else is")
    func unsupported() throws {
        #expect(
            Policies.problems(Policies.everything) == [
                "line 16, column 1: \"hooks\" is not supported by this version. Remove it; a policy must not promise what "
                    + "does not happen.",
                "line 19, column 8: \"link.minimum\" is not supported by this version. Remove it; a policy must not "
                    + "promise what does not happen.",
                "line 19, column 26: \"link.metered\" is not supported by this version. Remove it; a policy must not "
                    + "promise what does not happen.",
            ])
        let error = #expect(throws: HoldfastError.self) { try Policies.parse("name: a\nhooks: {}\n") }
        #expect(error?.code == .unsupported)
        #expect(error?.message.hasPrefix("test.yaml:2:1: ") == true)
        // A mistake inside is told as well.
        #expect(Policies.problems("name: a\nhooks: {before: [dump]}\n").count == 2)
    }

    @Test("all problems of a file are told at once, each with line, column and what to write")
    func allProblems() throws {
        let text = """
            name: my laptops
            protects: [/home]
            protect:
              - path: home
              - {path: /etc, mode: continous}
              - {path: /srv}
              - /srv/
              - {mode: scheduled}
              - ~/documents
              - /a/../b
            exclude: [preset: temp, "[a-", !keep.log, {patterns: x}, "*.iso", "*.iso"]
            schedule: dayly 02:00
            timezone: Europe/Londn
            expected: 2 days
            retention:
              default: {continuous: 24, dayly: 3, weekly: many, daily: -1}
              rules:
                - {match: "*.pst"}
                - {daily: 3}
                - {match: a, path: /b, daily: 3}
                - {match: "!a", daily: 3}
            checkpoint: {on: boot}
            link: {limits: [20Mb/s, 20Mbit/s Mon-Fry, 20Mbit/s 8-18, 1bit/s]}
            spool: {size: 10 bananas}
            history: {duration: 3 fortnights, share: 90%}
            settle: {close: 2h, modify: [1s]}
            lockdown: [puase]
            spool: {size: 1GB}
            name: again
            exclud: []

            """
        try assertSnapshot(Policies.problems(text).joined(separator: "\n") + "\n", named: "problems.txt")
    }

    @Test(
        "a syntax error says what to write",
        arguments: [
            ("name: a\nexclude: [*.iso]\n", 2, "quotes"),
            ("name: a\n\tspool: {}\n", 2, "tabs"),
            ("name: a\nexclude: [@x]\n", 2, "quotes"),
            ("name: a: b\n", 1, "colon"),
            ("name: a\nexclude: [a\nspool: {size: 1GB}\n", 3, "Close the list"),
            ("name: a\n---\nname: b\n", 2, "file of its own"),
            ("name: a\nspool: {size: 1GB\n", 3, ""),
            ("name: \u{1}\n", 1, "Delete"),
            ("name: a\n  spool: b\n", 2, "column"),
        ] as [(String, Int, String)])
    func syntax(text: String, line: Int, advice: String) throws {
        let problems = Policies.file.check(Array(text.utf8)).problems
        let problem = try #require(problems.first)
        #expect(problems.count == 1)
        #expect(problem.position.line == line, "\(problem)")
        #expect(advice.isEmpty || problem.sentence.contains(advice), "\(problem)")
    }

    @Test("what is not a policy at all is told in a sentence")
    func notAPolicy() {
        #expect(Policies.problems("")[0].contains("empty"))
        #expect(Policies.problems("# nothing\n")[0].contains("empty"))
        #expect(Policies.problems("- a\n- b\n")[0].contains("must be a group of keys, and this is a list"))
        #expect(Policies.problems("hello\n")[0].contains("this is a single value"))
        #expect(Policies.problems("spool:\n")[0].contains("no name"))
        #expect(Policies.problems("name:\n")[0].contains("has no value"))
        #expect(Policies.problems("name: defaults\n")[0].contains("Choose another"))
        let latin = Policies.file.check(Array("name: caf".utf8) + [0xE9, 0x0A]).problems
        #expect(latin.first?.sentence.contains("UTF-8") == true)
        #expect(latin.first?.position == SourcePosition(line: 1, column: 10))
    }

    @Test("a file with a byte order mark, Windows' line ends or a comment first is read")
    func ordinaryOddities() throws {
        #expect(try Policies.parse("\u{FEFF}name: a\r\nprotect:\r\n  - /etc\r\n").protect?.items.count == 1)
        #expect(try Policies.parse("%YAML 1.1\n---\n# x\nname: a\n...\n").name == "a")
    }

    @Test("names of other tools are understood in suggestions")
    func suggestions() {
        #expect(Policies.problems("name: a\nignore: []\n")[0].contains("Did you mean \"exclude\"?"))
        #expect(Policies.problems("name: a\nretention: {default: {keep-daily: 3}}\n")[0].contains("\"daily\"?"))
        #expect(Policies.problems("name: a\nTimezone: UTC\n")[0].contains("\"timezone\"?"))
        #expect(Policies.problems("name: a\nquux: 3\n")[0].contains("It takes name, protect"))
    }

    // MARK: Bounds

    @Test("a file above 1 MiB is refused before it is read")
    func tooLong() {
        let bytes = [UInt8](repeating: UInt8(ascii: "#"), count: (1 << 20) + 1)
        #expect(Policies.file.check(bytes).problems[0].sentence.contains("1 MiB"))
    }

    @Test("deep nesting ends with a message")
    func deep() {
        for text in [
            String(repeating: "[", count: 500_000), "name: a\nprotect: " + String(repeating: "{a: ", count: 100_000),
            (0..<600).map { String(repeating: " ", count: $0) + "a:\n" }.joined(),
        ] {
            #expect(Policies.problems(text)[0].contains("levels deep"))
        }
    }

    @Test("aliases that multiply end with a message, as values and as keys")
    func laughs() {
        var text = "name: a\na: &a [x, x, x, x, x, x, x, x, x, x]\n"
        for (name, next) in zip("abcdefgh", "bcdefghi") {
            text += "\(next): &\(next) [\(Array(repeating: "*\(name)", count: 10).joined(separator: ","))]\n"
        }
        #expect(Policies.problems(text)[0].contains("more than 20000 values"))
        #expect(Policies.problems(text + "? *i\n: 1\n")[0].contains("more than 20000 values"))
        // A chain of aliases is as deep as what it stands for.
        var chain = "name: a\nz0: &z0 [x]\n"
        for level in 1...40 { chain += "z\(level): &z\(level) [*z\(level - 1)]\n" }
        #expect(Policies.problems(chain)[0].contains("levels deep"))
        // One that contains itself does not exist yet.
        #expect(Policies.problems("name: a\nprotect: &p [*p]\n")[0].contains("not there"))
    }

    @Test("the longest list that a file may have is read, and joins with itself")
    func longList() throws {
        let text = "name: a\nexclude: [\((0..<19_000).map { "\"*.x\($0)\"" }.joined(separator: ","))]\n"
        let policy = try Policies.parse(text)
        #expect(PolicySet(groups: [policy, policy], machine: policy).effective.exclude.count == 19_000)
    }

    @Test("an alias is what it stands for")
    func alias() throws {
        let policy = try Policies.parse("name: a\nsettle: {close: &t 2s, modify: *t}\n")
        #expect(policy.settleModify?.value == .seconds(2))
    }

    @Test("a file with thousands of mistakes tells the first hundred and counts the rest")
    func manyProblems() {
        let text = "name: a\n" + (0..<5_000).map { "x\($0): 1\n" }.joined()
        let problems = Policies.problems(text)
        #expect(problems.count == 101)
        #expect(problems.last?.contains("4900 more") == true)
    }

    @Test("no input ends the program, and what is refused has a place within the file")
    func fuzz() {
        let seed = UInt64.random(in: 0 ... .max)
        print("fuzz of policy files, seed \(seed)")
        var generator = FuzzGenerator(seed: seed)
        let seeds = [Policies.everything] + MachineClass.allCases.map { "name: x\n" + $0.yaml }
        let tokens = [
            "!override", "&a", "*a", "? ", "- ", ": ", "{", "}", "[", "]", "\"", "'", "|", ">", "%", "\n", "\t", "#",
            "\\x00", "\u{2028}", "every", "daily", "99999999999999999999", "-1", "/", "..", "null", "~", "<<", "\0",
            "@reboot", "* * * * *", "31 2",
        ]
        var accepted = 0
        for _ in 0..<3_000 {
            var bytes = Array(seeds.randomElement(using: &generator)!.utf8)
            if Bool.random(using: &generator) {
                bytes = generator.mutation(of: bytes)
            } else {
                for _ in 0..<Int.random(in: 1...3, using: &generator) {
                    let token = Array(tokens.randomElement(using: &generator)!.utf8)
                    bytes.insert(contentsOf: token, at: Int.random(in: 0...bytes.count, using: &generator))
                }
            }
            let checked = Policies.anyFile.check(bytes)
            #expect((checked.value == nil) == !checked.problems.isEmpty, "seed \(seed)")
            let lines = bytes.count { $0 == 0x0A || $0 == 0x0D || $0 == 0xA8 || $0 == 0x85 } + 2
            for problem in checked.problems {
                #expect((1...lines).contains(problem.position.line), "seed \(seed): \(problem)")
                #expect(problem.position.column >= 1)
                #expect(!problem.description.contains("\u{1B}"))
            }
            if let policy = checked.value {
                accepted += 1
                // What was accepted prints and reads back.
                let effective = PolicySet(machine: policy).effective
                let again = Policies.anyFile.check(Array(effective.yaml().utf8))
                #expect(again.problems.isEmpty, "seed \(seed): \(again.problems)")
            }
            _ = MachineAllowance.check(bytes)
        }
        #expect(accepted > 50)
    }
}

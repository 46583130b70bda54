package import Client
import Model
import Vault

/// What `GET /install` answers: a script for the shell of a machine that is to be protected. It installs the packages that
/// this server offers, enrols the machine and starts its agent.
///
/// There is no secret and no address in it, and it is the same for every machine, so that the line which a person pastes can
/// name its hash: nobody on the way can put another one in its place. The hashes of the packages stand in it, and the
/// enrolment code names the server's identity key. TLS need not be believed for any of that.
package struct InstallScript: Hashable, Sendable {
    /// The packages that a machine needs.
    static let names = ["holdfast", "holdfast-agent"]
    /// The setting in which the server that runs notes the hash of its script, for whoever prints a line.
    package static let setting = "install-script"
    /// A shell's `$(...)` takes no more of it; the script is far shorter.
    static let limit = 65_536

    /// Without the new line at its end, as a shell has it in a variable.
    package let text: String
    /// Whether there are packages for any machine.
    package let hasPackages: Bool

    /// SHA-256 of the text, in hex.
    package var hash: String { SHA256Sum.of(Array(text.utf8)) }

    init(_ packages: [PackageOffer.Package]) {
        var cases: [String] = []
        for program in packages where program.name.hasPrefix("holdfast_") {
            // The agent's files fit every architecture, and its version.
            guard
                let agent = packages.first(where: {
                    $0.name.hasPrefix("holdfast-agent_") && ["all", program.architecture].contains($0.architecture)
                        && $0.version == program.version
                })
            else { continue }
            cases.append(
                """
                    \(program.architecture))
                        version=\(program.version)
                        program=\(program.name) program_size=\(program.size)
                        program_sum=\(Hex.encode(program.hash.array))
                        agent=\(agent.name) agent_size=\(agent.size)
                        agent_sum=\(Hex.encode(agent.hash.array))
                        ;;
                """)
        }
        hasPackages = !cases.isEmpty
        let known = packages.filter { $0.name.hasPrefix("holdfast_") }.map(\.architecture).joined(separator: ", ")
        text = Self.template.replacing("@CASES@", with: cases.joined(separator: "\n"))
            .replacing("@OFFERED@", with: known.isEmpty ? "none" : known)
    }

    /// The line that a person pastes on a machine, as root.
    ///
    /// The code goes to the script's input from a command of the shell itself: neither it nor anything secret stands in the
    /// list of processes. The script is in a variable: what is compared is what is run.
    package static func line(hash: String, code: EnrolmentCode, address: ServerAddress) -> String {
        let url = quoted(address.description + "/install")
        return "s=$({ command -v curl >/dev/null && curl -fsSk \(url) || wget -qO- --no-check-certificate \(url); }"
            + " | head -c \(limit)); if [ \"$(printf %s \"$s\" | sha256sum)\" = '\(hash)  -' ];"
            + " then echo \(code.text) | sh -c \"$s\" holdfast-install \(quoted(address.description));"
            + " else echo 'This is not the script of the server that printed this line, or there was no answer:"
            + " nothing was done.' >&2; fi"
    }

    /// An address as a word of the shell.
    private static func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                || "/._-:".utf8.contains(byte)
        }
        return isPlain ? text : "'" + text.replacing("'", with: "'\\''") + "'"
    }

    // The shell of Debian is dash: nothing of bash in it. Everything is looked at before anything is changed, and enrolling,
    // which can be refused, comes before installing.
    private static let template = #"""
        #!/bin/sh
        # Installs Holdfast on this machine and enrols it with the server whose address is the argument; the enrolment code comes
        # in on standard input. `holdfast server token` prints the line that runs this, after it has compared its hash. Running it
        # twice is harmless.
        set -eu
        umask 022
        PATH=$PATH:/usr/sbin:/sbin
        LC_ALL=C
        export PATH LC_ALL
        unset HOLDFAST_STATE HOLDFAST_VAULT HOLDFAST_TOKEN_FILE || true

        changed='Nothing was changed.'
        say() { printf '%s\n' "$*"; }
        refuse() {
            printf 'holdfast: %s\n' "$@" "$changed" >&2
            exit 1
        }

        # What this needs, and what it was given.
        server=${1:-}
        case $server in
            https://?*) ;;
            *) refuse 'The address of the server is missing. Paste the whole line that the server printed.' ;;
        esac
        code=
        IFS= read -r code || true
        case $code in
            hfe_?*) ;;
            *) refuse 'No enrolment code came in. Paste the whole line that the server printed.' ;;
        esac
        [ "$(id -u)" -eq 0 ] ||
            refuse 'This is for root. Become root (sudo -s) and paste the line again; the code still holds.'
        [ "$(uname -s)" = Linux ] || refuse "This is $(uname -s). Holdfast protects Linux."
        [ -e /proc/self/exe ] || refuse '/proc is not mounted here, which Holdfast needs.'
        for tool in dpkg dpkg-deb dpkg-query sha256sum mktemp df; do
            command -v "$tool" >/dev/null ||
                refuse "There is no $tool here. The server's packages are for Debian, Ubuntu and what is made of them."
        done
        architecture=$(dpkg --print-architecture)
        case $architecture in
        @CASES@
            *)
                version='' ;;
        esac

        # What is here already. Nothing is ever replaced by something older.
        state_of() {
            dpkg-query -W -f '${db:Status-Abbrev}|${Version}' "$1" 2>/dev/null | sed -n 's/^ii *|//p'
        }
        have=$(state_of holdfast)
        have_agent=$(state_of holdfast-agent)
        install=no
        if [ -z "$version" ]; then
            [ -n "$have_agent" ] ||
                refuse "The server has no package for this machine's architecture, $architecture (it has: @OFFERED@)." \
                    'Install holdfast and holdfast-agent from elsewhere, then paste the line again.'
        elif [ -n "$have" ] && dpkg --compare-versions "$have" gt "$version"; then
            [ -n "$have_agent" ] ||
                refuse "holdfast $have is installed here, which is newer than the server's $version." \
                    "Install holdfast-agent $have beside it, then paste the line again."
        elif [ "$have" != "$version" ] || [ "$have_agent" != "$version" ]; then
            install=yes
        fi

        # One agent follows one server.
        enrolled=no
        for file in /var/lib/holdfast/servers/*.json; do
            case $file in */enrolling_* | *'*'*) continue ;; esac
            if grep -qF "\"address\":\"$server\"" "$file"; then
                enrolled=yes
            elif ! grep -q '^[[:space:]]*HOLDFAST_VAULT=' /etc/holdfast/agent.conf 2>/dev/null; then
                other=$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' "$file")
                refuse "This machine is enrolled with another server already: $other." \
                    'An agent follows one. Say which, as HOLDFAST_VAULT in /etc/holdfast/agent.conf, or remove' \
                    "$file, then paste the line again."
            fi
        done

        work=
        clean() { [ -z "$work" ] || rm -rf "$work"; }
        trap clean EXIT
        trap 'exit 129' HUP
        trap 'exit 130' INT
        trap 'exit 143' TERM
        # A place from which programs can be run: the program is tried before it is installed.
        for place in "${TMPDIR:-/tmp}" /var/tmp /root /usr/local; do
            work=$(mktemp -d "$place/holdfast-install.XXXXXXXX" 2>/dev/null) || continue
            printf '#!/bin/sh\nexit 0\n' >"$work/try"
            chmod 0700 "$work/try"
            if "$work/try" 2>/dev/null; then break; fi
            rm -rf "$work"
            work=
        done
        [ -n "$work" ] || refuse 'There is no directory for temporary files from which programs can be run.'

        fetch() { # NAME SIZE HASH
            if command -v curl >/dev/null; then
                curl -fsSk --retry 4 "$server/install/$1" </dev/null
            else
                wget -qO- --no-check-certificate "$server/install/$1" </dev/null
            fi | head -c "$(($2 + 1))" >"$work/$1" || true
            [ "$(sha256sum <"$work/$1")" = "$3  -" ] ||
                refuse "$1 did not come as the server has it: the connection broke, the server was upgraded meanwhile," \
                    'or somebody on the way has changed it. Try again, with a new line if need be.'
        }
        room() { # DIRECTORY KILOBYTES
            free=$(df -Pk "$1" | awk 'NR == 2 { print $4 }')
            [ "$free" -ge "$2" ] || refuse "There is too little room in $1: $2 kB are needed, $free are free."
        }
        holdfast=holdfast
        if [ "$install" = yes ]; then
            # The program is about four times as large as its package.
            need=$(((program_size + agent_size) / 1024 * 5 + 16384))
            room "$work" "$need"
            room /usr "$need"
            room /var "$((need / 8))"
            say "Fetching holdfast $version from $server ..."
            fetch "$program" "$program_size" "$program_sum"
            fetch "$agent" "$agent_size" "$agent_sum"
            mkdir "$work/tree"
            dpkg-deb -x "$work/$program" "$work/tree" || refuse "The package $program cannot be unpacked."
            holdfast=$work/tree/usr/bin/holdfast
            "$holdfast" --version >/dev/null || refuse 'The program does not run on this machine.'
        fi

        # The server may refuse; nothing is installed then.
        waiting=no
        if [ "$enrolled" = no ]; then
            changed='Nothing was installed.'
            status=0
            printf '%s\n' "$code" | "$holdfast" enrol "$server" --quiet || status=$?
            case $status in
                0) ;;
                3) waiting=yes ;;
                *) refuse "This machine could not be enrolled with $server; the reason stands above." ;;
            esac
        fi
        code=

        changed='The machine is enrolled. Put it right and paste the line again: the code is not needed a second time.'
        if [ "$install" = yes ]; then
            say "Installing ..."
            if ! DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold -i \
                "$work/$program" "$work/$agent" </dev/null >"$work/log" 2>&1; then
                tail -n 5 "$work/log" >&2
                refuse 'dpkg could not install the packages.'
            fi
        fi
        running=no
        if [ -d /run/systemd/system ]; then
            systemctl start holdfast-agent.path holdfast-agent.service </dev/null >/dev/null 2>&1 || true
            case $(systemctl is-active holdfast-agent.service 2>/dev/null) in active | activating) running=yes ;; esac
        fi

        name=$(uname -n)
        say ''
        if [ "$install" = yes ]; then
            say "Installed  holdfast and holdfast-agent $version. To take them away: apt remove holdfast-agent holdfast"
        else
            say "Installed  holdfast-agent $have_agent was here already."
        fi
        if [ "$enrolled" = yes ]; then
            say "Enrolled   with $server, already before; the code was not used."
        elif [ "$waiting" = yes ]; then
            say "Enrolled   with $server, which knows this machine with another key and lets it wait."
            say '           An administrator decides there: holdfast server machines'
        else
            say "Enrolled   with $server."
        fi
        if [ "$running" = yes ]; then
            say 'Runs       holdfast-agent.service, from now on and after each start.'
        elif [ -d /run/systemd/system ]; then
            say 'Runs       not: holdfast-agent.service did not start. See: systemctl status holdfast-agent'
        else
            say 'Runs       not: there is no systemd here. Let this run, now and after each start: holdfast agent run'
        fi
        say ''
        say 'What is protected says the policy of this machine or of its group. Unless the group has one, give it one on the'
        say "server (or anywhere, with an administrator's code):"
        say "  holdfast policy machine $name --class server"
        say 'Then look here:'
        say '  holdfast agent status'
        """#
}

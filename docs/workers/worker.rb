# A worker in Ruby (pg): takes tokens, one a line, from stdin in place of a queue.
#
#     DATABASE_URL=postgres://… ruby worker.rb < tokens
require "pg"

$stdout.sync = true
conn = PG.connect(ENV.fetch("DATABASE_URL"))
$stdin.each_line(chomp: true) do |token|
  # Outside of a transaction, so that what is read after it has a newer snapshot.
  outcome = "pending"
  while outcome == "pending"
    outcome = conn.exec_params("SELECT pgbarrier.wait($1, '10 seconds')", [token]).getvalue(0, 0)
    # A queue's lease is extended here, or the message given back without burning an attempt.
  end
  case outcome
  when "committed" then puts "#{token} do the work, its rows can be read"
  when "aborted" then puts "#{token} drop it, its transaction rolled back"
  else puts "#{token} to the dead letters: #{outcome}" # expired, wrong database, invalid
  end
end

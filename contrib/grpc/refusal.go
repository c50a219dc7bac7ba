package guardgrpc

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

// Domain is the domain of the ErrorInfo that is in the answer to a call that was not handled. Its reason is one of
// ABORTED, PENDING, EXPIRED, WRONG_DATABASE, INVALID_TOKEN and MISSING.
const Domain = "pgbarrier"

// reasons are the errors that refusals stand for.
var reasons = map[string]error{
	"ABORTED":        pgbarrier.ErrAborted,
	"PENDING":        guard.ErrPending,
	"EXPIRED":        pgbarrier.ErrExpired,
	"WRONG_DATABASE": pgbarrier.ErrWrongDatabase,
	"INVALID_TOKEN":  pgbarrier.ErrInvalidToken,
	"MISSING":        guard.ErrMissing,
}

// leastPause is before a call that a server refuses because it stops: the client may not know of another one yet.
const leastPause = 100 * time.Millisecond

func pauseOf(d guard.Decision) time.Duration { return max(d.After, leastPause) }

// pushback tells gRPC's own retries of the pause (proposal A6, https://github.com/grpc/proposal).
func pushback(pause time.Duration) metadata.MD {
	return metadata.Pairs("grpc-retry-pushback-ms", strconv.FormatInt(pause.Milliseconds(), 10))
}

// refusal is the answer to a call that d keeps from its handler.
func refusal(d guard.Decision) error {
	reason := reasonOf(d.Err)
	s := status.New(codeOf(d, reason), strings.ToValidUTF8(d.Err.Error(), "?"))
	info := &errdetails.ErrorInfo{Domain: Domain, Reason: reason}
	with, err := s.WithDetails(info)
	if d.Verdict == guard.Later {
		with, err = s.WithDetails(info, &errdetails.RetryInfo{RetryDelay: durationpb.New(pauseOf(d))})
	}
	if err != nil {
		return s.Err()
	}
	return with.Err()
}

func reasonOf(err error) string {
	for reason, of := range reasons {
		if errors.Is(err, of) {
			return reason
		}
	}
	return "PENDING" // the server stops
}

func codeOf(d guard.Decision, reason string) codes.Code {
	switch {
	case d.Verdict == guard.Later:
		return codes.Unavailable
	case reason == "ABORTED", reason == "PENDING": // the latter after guard.Config.GiveUp
		return codes.FailedPrecondition
	}
	return codes.InvalidArgument
}

// refusalOf returns the error that a refusal stands for, nil if err is none, and the pause before the next try, if there is
// to be one.
func refusalOf(err error) (pause time.Duration, refused error) {
	s, ok := status.FromError(err)
	if !ok || s.Code() == codes.OK {
		return 0, nil
	}
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == Domain {
				refused = reasons[detail.GetReason()]
			}
		case *errdetails.RetryInfo:
			pause = max(detail.GetRetryDelay().AsDuration(), leastPause)
		}
	}
	return pause, refused
}

// asHandlers returns the error of a handler, which is not taken for a refusal: one that has called another guarded
// service, and returns what that has answered, was called itself.
func asHandlers(err error) error {
	if _, refused := refusalOf(err); refused == nil {
		return err
	}
	proto := status.Convert(err).Proto()
	var kept []*anypb.Any
	for _, detail := range proto.GetDetails() {
		var info errdetails.ErrorInfo
		if detail.UnmarshalTo(&info) != nil || info.GetDomain() != Domain {
			kept = append(kept, detail)
		}
	}
	proto.Details = kept
	return status.ErrorProto(proto)
}
